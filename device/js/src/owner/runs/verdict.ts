// The guard's hearing at the end of a run: the golden set, the owner's held-out labels, and samples that were learnt without one.
//
// Axes: N samples.

import type { Bundle } from "../../bundle/bundle.js";
import { UNLABELLED, type Samples } from "../../bundle/packs.js";
import { binomialTail } from "../../guard/chance.js";
import { clearlyBetter, clearlyWorse, compared, inWords, type HeldOut } from "../../guard/holdout.js";
import { judge, measureLogits, type Limits, type Measured } from "../../guard/measures.js";
import { LearningError, type Learner } from "../../learner/learner.js";
import { groupsOf } from "./groups.js";

const DOUBTFUL = 0.2; // stricter than a test's .05: without a label it is the run that needs evidence

/** What the bundle's own mentee answers on its packs. */
export interface Base {
  readonly golden: Samples;
  readonly goldenLogits: Float32Array;
  readonly replayLogits: Float32Array;
}

/** Classes that a run gave `samples` without a label. `changed` of them have another class than before; the groups they lay in
 * before the run side with the new class `agreed` times, with the old one `opposed` times. */
export interface Guessed {
  readonly samples: number;
  readonly changed: number;
  readonly agreed: number;
  readonly opposed: number;
}

/** `reasons` against the candidate; none: it may become current. `why`: the verdict in words; `evidence`: as JSON has it. */
export interface Verdict {
  readonly reasons: readonly string[];
  readonly why: string;
  readonly goldenBase: number;
  readonly goldenAfter: number;
  readonly heldOut: HeldOut | null;
  readonly evidence: Readonly<Record<string, unknown>>;
}

/** The mentee before a run, on the samples that judge it: whether it is right on each of `held`; of `learnt` at `open`, which have
 * no label, its classes and what their groups say (−1: nothing that holds in every draw). */
export interface Before {
  readonly held: Samples;
  readonly right: readonly boolean[];
  readonly learnt: Samples;
  readonly open: Int32Array;
  readonly classes: Int32Array;
  readonly steady: Int32Array;
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
  const goldenLogits = (await learner.predict(golden.input)).logits;
  const replayLogits = pack.samples.labels.length
    ? (await learner.predict(pack.samples.input)).logits
    : new Float32Array();
  learner.restore(now);
  return { golden, goldenLogits, replayLogits };
}

/** On which of them the highest logit is the label's. */
export async function right(learner: Learner, { input, labels }: Samples): Promise<boolean[]> {
  if (!labels.length) return [];
  const seen = (await learner.predict(input)).classes;
  return Array.from(labels, (label, row) => seen[row] === label);
}

/** By `learner`, as it was before it learnt from `learnt`. */
export async function before(learner: Learner, held: Samples, learnt: Samples): Promise<Before> {
  const open = Int32Array.from(learnt.labels.keys()).filter((row) => (learnt.labels[row] ?? UNLABELLED) < 0);
  let [classes, steady] = [new Int32Array(), open.map(() => UNLABELLED)];
  if (open.length) {
    const found = await learner.predict(learnt.input);
    const groups = await groupsOf(learner, found.embedding, learnt.labels);
    classes = open.map((row) => found.classes[row] ?? UNLABELLED);
    if (groups !== null) steady = open.map((row) => groups[row] ?? UNLABELLED);
  }
  return { held, right: await right(learner, held), learnt, open, classes, steady };
}

/** The verdict on `learner`'s present parameters; without `was` by the golden set alone. */
export async function judged(
  base: Base,
  learner: Learner,
  was: Before | null,
  limits: Limits,
  names: readonly string[],
): Promise<Verdict> {
  const { golden, goldenLogits } = base;
  const measured = (logits: Float32Array): Measured =>
    measureLogits(logits, golden.labels, goldenLogits, names.length, limits);
  const [then, now] = [measured(goldenLogits), measured((await learner.predict(golden.input)).logits)];
  const heldOut = was?.held.labels.length ? compared(was.right, await right(learner, was.held)) : null;
  const gained = heldOut !== null && clearlyBetter(heldOut);
  const reasons = judge(now, then, limits, names, gained);
  const words = [`golden accuracy ${then.accuracy.toFixed(4)} of the base -> ${now.accuracy.toFixed(4)}`];
  const evidence: Record<string, unknown> = { base: figures(then), update: figures(now) };
  if (heldOut !== null) {
    evidence["held_out"] = heldOut;
    words.push(inWords(heldOut));
    if (clearlyWorse(heldOut)) reasons.push(`worse for the owner, beyond chance: ${inWords(heldOut)}`);
  }
  const guessed = was?.open.length ? await guessedOf(was, learner) : null;
  if (guessed !== null) {
    evidence["guessed"] = guessed;
    words.push(guessedInWords(guessed));
    if (opposes(guessed) && !gained) reasons.push(`no evidence for its guesses: ${guessedInWords(guessed)}`);
  }
  const why = (reasons.length ? reasons : words).join("; ");
  const given = { ...evidence, reasons: [...reasons] };
  return { reasons, why, goldenBase: then.accuracy, goldenAfter: now.accuracy, heldOut, evidence: given };
}

/** As Python's verdict has them; the calibration error where it was watched. */
function figures({ accuracy, agreement, samples, lost, won, ece, eceRise }: Measured): Record<string, unknown> {
  const calibration = ece === undefined ? {} : { ece, ece_rise: eceRise };
  return { accuracy, agreement, samples, lost, won, ...calibration };
}

async function guessedOf({ learnt, open, classes, steady }: Before, learner: Learner): Promise<Guessed> {
  const seen = (await learner.predict(learnt.input)).classes;
  const counts = { samples: open.length, changed: 0, agreed: 0, opposed: 0 };
  open.forEach((row, place) => {
    const [now, then] = [seen[row], classes[place]];
    if (now === then) return;
    counts.changed++;
    if (steady[place] === now) counts.agreed++;
    if (steady[place] === then) counts.opposed++;
  });
  return counts;
}

/** Whether the groups would rather have the answers of before: as many or more of them against so few for it are unlikely where
 * neither is better. */
function opposes({ agreed, opposed }: Guessed): boolean {
  return opposed > agreed && binomialTail(opposed, opposed + agreed) < DOUBTFUL;
}

function guessedInWords({ samples, changed, agreed, opposed }: Guessed): string {
  return (
    `${changed} of ${samples} samples without a label get another class than before; the groups they lie in agree on ` +
    `${agreed} and oppose ${opposed}`
  );
}
