// One run of learning: how far it is, and its next step. runs.ts saves it and judges its end.
//
// Axes: N the run's samples.

import type { Knobs } from "../../bundle/manifest/inputs.js";
import { UNLABELLED, type Samples } from "../../bundle/packs.js";
import { takeAnswers, takeSamples, type OwnAnswers } from "../../learner/batch.js";
import { LearningError, type Learner, type Terms } from "../../learner/learner.js";
import { groupsOf } from "./groups.js";
import { usedOf, valueAt } from "./plan.js";
import type { Curve, Done, ResolvedPlan } from "../record.js";
import type { Answered } from "./replay.js";
import { shifted } from "./shift.js";

const ASLEEP = 1; // second that a step takes at most, or ten usual ones: the device slept, or the browser froze the tab

/** A plan on its way, on the learner's present parameters. `numbers` [N], `weights` [N] and `answers` [N] are of `samples`. */
export class Run {
  done: Done;
  first: Terms = {};
  last: Terms = {};
  private readonly rows: Int32Array; // labelled
  private readonly open: Int32Array; // those that it guesses
  private readonly guessed: Int32Array; // [N], −1 for nothing

  constructor(
    private readonly learner: Learner,
    readonly plan: ResolvedPlan,
    readonly samples: Samples,
    private readonly numbers: readonly number[],
    private readonly weights: Float32Array,
    private readonly replay: Answered,
    done: Done,
    guesses: Readonly<Record<string, number>> = {},
    private readonly answers: OwnAnswers | null = null,
  ) {
    this.done = done;
    const all = Int32Array.from(samples.labels.keys());
    this.rows = all.filter((row) => (samples.labels[row] ?? UNLABELLED) >= 0);
    const guessing = plan.rounds > 0 && !plan.once;
    this.open = guessing ? all.filter((row) => (samples.labels[row] ?? UNLABELLED) < 0) : new Int32Array();
    this.guessed = Int32Array.from(numbers, (number) => guesses[number] ?? UNLABELLED);
    if (!this.rows.length && !this.open.length)
      throw new LearningError("nothing to learn from: none of the run's samples has a label");
  }

  /** The part of the run that is over, 0 to 1. */
  get fraction(): number {
    const used = usedOf(this.plan.budget, this.done);
    return Math.min(1, this.plan.once ? Math.max(used, this.done.samples / this.rows.length) : used);
  }

  /** Labels that it gave so far, by the samples' numbers. */
  get guesses(): Record<string, number> {
    const given = Array.from(this.guessed, (label, row) => [String(this.numbers[row]), label] as const);
    return Object.fromEntries(given.filter(([, label]) => label >= 0));
  }

  /** Draws a batch and learns from it; knobs of `settings` hold where the plan names none. Throws LearningError. */
  async step(settings: Partial<Record<string, Curve>>): Promise<Terms> {
    let started = performance.now();
    const { plan, learner } = this;
    const { manifest } = learner.bundle;
    const position = this.fraction;
    const round = this.roundAt(position);
    if (round > this.done.round) {
      await this.guess();
      this.done = { ...this.done, round };
      this.spend((performance.now() - started) / 1000);
      started = performance.now();
    }
    const curves = Object.entries({ ...settings, ...plan.knobs });
    const knobs: Partial<Record<string, number>> = Object.fromEntries(
      curves.map(([name, curve]) => [name, valueAt(curve ?? 0, position)]),
    );
    if (plan.replay === "own") knobs["beta"] = 0;
    if (plan.replay === "auto") knobs["beta"] ??= 0;
    const [rows, labels, weights] = this.draw();
    const more = await learner.drawReplay(plan.replayBatch, this.replay(knobs["beta"] ?? manifest.knobs.beta));
    const own = takeSamples(manifest, this.samples, rows).input;
    const input = shifted(own, manifest.preprocessing.shape, plan.shift ?? 0, learner);
    const answers = this.answers === null ? {} : { answers: takeAnswers(manifest, this.answers, rows) };
    const mixing = { ownerWeight: plan.ownerWeight, weights, knobs: knobs as Partial<Knobs>, ...answers };
    this.last = await learner.learnBatch({ input, labels }, more, mixing);
    if (!Object.keys(this.first).length) this.first = this.last;
    const { steps, samples, seconds } = this.done;
    this.done = { ...this.done, steps: steps + 1, samples: samples + rows.length };
    const most = steps ? Math.max(ASLEEP, (10 * seconds) / steps) : Number.POSITIVE_INFINITY;
    this.spend(Math.min((performance.now() - started) / 1000, most));
    return this.last;
  }

  /** Counts time that passed against the budget. */
  spend(seconds: number): void {
    this.done = { ...this.done, seconds: this.done.seconds + seconds };
  }

  /** The samples it learns from, in words for the log. */
  describe(): string {
    const guessed = this.open.length ? ` and ${this.open.length} that have no label` : "";
    const known = this.answers?.known.reduce((sum, one) => sum + one, 0) ?? 0;
    const answered = known ? `, the mentor's answers to ${known} of them` : "";
    return `${this.rows.length} labelled samples${guessed}${answered}`;
  }

  /** Row numbers, labels and weights of the owner's part of a batch. */
  private draw(): [Int32Array, Int32Array, Float32Array] {
    const { plan, learner, samples } = this;
    const from = this.done.samples;
    const own = plan.once
      ? this.rows.slice(from, from + plan.batch)
      : this.rows.length
        ? learner.draw(this.rows, plan.batch)
        : this.rows;
    const open = this.open.filter((row) => (this.guessed[row] ?? UNLABELLED) >= 0);
    const more = open.length ? learner.draw(open, plan.guessedBatch) : open;
    const rows = Int32Array.from([...own, ...more]);
    const labels = rows.map((row, place) => (place < own.length ? samples.labels : this.guessed)[row] ?? UNLABELLED);
    const weights = Float32Array.from(rows, (row, place) =>
      place < own.length ? (this.weights[row] ?? 1) : plan.guessWeight,
    );
    return [rows, labels, weights];
  }

  /** The round that the run is in after this share of it; 0 on labels alone. */
  private roundAt(position: number): number {
    if (!this.open.length) return 0;
    const before = this.rows.length ? 1 : 0;
    const parts = this.plan.rounds + before;
    return Math.min(Math.trunc(position * parts + 1e-9), parts - 1) + 1 - before;
  }

  /** Labels the open samples anew, by the learner as it is now; one whose class hangs on the draw gets none. */
  private async guess(): Promise<void> {
    const { embedding } = await this.learner.predict(this.samples.input);
    const classes = await groupsOf(this.learner, embedding, this.samples.labels);
    if (classes !== null) for (const row of this.open) this.guessed[row] = classes[row] ?? UNLABELLED;
    else if (!this.rows.length) {
      throw new LearningError(
        "nothing to learn from: no label, and no two classes to group the owner's samples around",
      );
    }
  }
}
