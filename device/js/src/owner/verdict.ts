// The guard's hearing at the end of a run: the golden set, and the owner's held-out labels.

import type { Bundle } from "../bundle/bundle.js";
import type { Samples } from "../bundle/packs.js";
import { clearlyBetter, clearlyWorse, inWords, type HeldOut } from "../guard/holdout.js";
import { judge, measure, type Limits, type Measured } from "../guard/measures.js";
import { LearningError, type Learner } from "../learner/learner.js";

/** What the bundle's own mentee answers on its packs. */
export interface Base {
  readonly golden: Samples;
  readonly goldenClasses: Int32Array;
  readonly replayLogits: Float32Array;
}

/** `reasons` against the candidate; none: it may become current. `why`: the verdict in words. */
export interface Verdict {
  readonly reasons: readonly string[];
  readonly why: string;
  readonly goldenBase: number;
  readonly goldenAfter: number;
}

/** Throws LearningError where the golden set is empty: a run that nothing can judge is not begun. */
export async function askBase(bundle: Bundle, learner: Learner): Promise<Base> {
  const golden = await bundle.golden();
  if (!golden.labels.length) {
    throw new LearningError("the bundle's golden set is empty, so nothing can guard a run: export it with one");
  }
  const pack = await learner.supervision();
  const now = await learner.snapshot();
  learner.reset();
  const goldenClasses = (await learner.predict(golden.input)).classes;
  const replayLogits = pack.samples.labels.length
    ? (await learner.predict(pack.samples.input)).logits
    : new Float32Array();
  learner.restore(now);
  return { golden, goldenClasses, replayLogits };
}

/** On which of them the highest logit is the label's. */
export async function right(learner: Learner, { input, labels }: Samples): Promise<boolean[]> {
  if (!labels.length) return [];
  const seen = (await learner.predict(input)).classes;
  return Array.from(labels, (label, row) => seen[row] === label);
}

/** From the candidate's answers on the golden set, and what the held-out labels say (null: nothing). */
export function decided(
  base: Base,
  seen: Int32Array,
  heard: HeldOut | null,
  limits: Limits,
  names: readonly string[],
): Verdict {
  const { golden, goldenClasses } = base;
  const measured = (answers: Int32Array): Measured => measure(answers, golden.labels, goldenClasses, names.length);
  const [before, now] = [measured(goldenClasses), measured(seen)];
  const reasons = judge(now, before, limits, names, heard !== null && clearlyBetter(heard));
  if (heard !== null && clearlyWorse(heard)) reasons.push(`worse for the owner, beyond chance: ${inWords(heard)}`);
  const figures = `golden accuracy ${before.accuracy.toFixed(4)} of the base -> ${now.accuracy.toFixed(4)}`;
  const why = reasons.length ? reasons : [figures, ...(heard === null ? [] : [inWords(heard)])];
  return { reasons, why: why.join("; "), goldenBase: before.accuracy, goldenAfter: now.accuracy };
}
