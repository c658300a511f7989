// Labels where the owner gave none: marked as guesses, and the way back.

import { guess, guesses, undoGuesses, type Guess } from "../../labels/guessing.js";
import { GUESSED } from "../../labels/pseudo-labels.js";
import type { Mentor } from "../../labels/own-mentor.js";
import type { GuessRules } from "../../labels/rules.js";
import type { Source } from "../record.js";
import type { Running } from "../runs/runs.js";
import type { Unlearned } from "../runs/unlearn.js";
import { Learning } from "./learning.js";

export class Labelling extends Learning {
  /** Labels for samples that have none, each marked as a guess, at a quarter of a label's weight; the new ones. First the
   * mentor's, as its service answered, as it was recorded with the sample, or as `mentor` says now; then by `rules`. Throws
   * SampleError. */
  async guess(rules: GuessRules = {}, mentor: Mentor | null = null): Promise<Guess[]> {
    this.runs.requireRest();
    return guess(this.state, this.learner, rules, mentor);
  }

  /** All guesses that stand, and what they were guessed from. */
  get guesses(): readonly Guess[] {
    return guesses(this.state);
  }

  /** Takes guessed labels back, all or those of these samples and sources, and what they taught, as `unlearn` does; the samples
   * stay, unlabelled. Throws SampleError for one that has no guessed label. */
  async undoGuesses(
    samples?: readonly number[],
    sources: readonly Source[] = GUESSED,
    running: Running = {},
  ): Promise<Unlearned> {
    return this.moved(() => undoGuesses(this.state, this.runs, samples, sources, running));
  }
}
