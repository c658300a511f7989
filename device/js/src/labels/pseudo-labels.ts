// Labels where the owner gave none: guessed by the mentor, by the mentee itself, or by what stood next to it in a stream.
//
// A guess is a hard label and weaker than the owner's word: it says where it comes from, how sure its source was, and weighs a
// quarter, unless it comes from clusters. The owner's own labels are never touched. Python has the same rules
// (labels/pseudo_labels.py). Axes: N samples, in a stream oldest first, K classes; rows of K are arrays.

import { UNLABELLED } from "../bundle/packs.js";
import { highest } from "../guard/answers.js";
import type { Source } from "../owner/record.js";

export const GUESSED: readonly Source[] = ["mentor", "mentor-online", "near_miss", "stream", "cluster", "pseudo"];
const GUESS_WEIGHT = 0.25; // against 1 for a label of the owner, as for a replayed sample
export const CLUSTER_WEIGHT = 1; // as measured on spoken digits of strangers
const LOWEST_THRESHOLD = 0.5; // of an adaptive threshold: below it more speaks against a label than for it

/** A sample's label, −1 for none: the source's probability of it, its weight in the loss, and the label that stood there
 * `before` a neighbour's was put in its place, −1 for none. */
export interface Known {
  readonly label: number;
  readonly confidence: number;
  readonly source: Source;
  readonly weight: number;
  readonly before: number;
}

type Row = Float64Array;

function guessed(label: number, confidence: number, source: Source, weight = GUESS_WEIGHT, before = UNLABELLED): Known {
  return { label, confidence, source, weight, before };
}

/** The mentor's class for each unlabelled sample that it was asked about (else null), where its probability reaches
 * `threshold`. */
export function mentors(
  known: readonly Known[],
  probability: readonly (Row | null)[],
  threshold: number,
  source: Source,
): Known[] {
  return known.map((one, row) => {
    const said = probability[row] ?? null;
    if (one.label >= 0 || said === null) return one;
    const [best, sure] = top(said);
    return sure >= threshold ? guessed(best, sure, source) : one;
  });
}

/** The mentee's own class for each unlabelled sample that it is sure of: max p ≥ its class's threshold (FixMatch, arXiv
 * 2001.07685, equation 4). */
export function pseudo(
  known: readonly Known[],
  probability: readonly Row[],
  threshold: (label: number) => number,
): Known[] {
  return known.map((one, row) => {
    const [best, sure] = top(probability[row]);
    return one.label < 0 && sure >= threshold(best) ? guessed(best, sure, "pseudo") : one;
  });
}

/** The class with the largest share in each unlabelled sample, however large that is: the softmax of clusters is soft. */
export function clustered(known: readonly Known[], shares: readonly Row[], weight: number): Known[] {
  return known.map((one, row) => {
    const [best, share] = top(shares[row]);
    return one.label < 0 ? guessed(best, share, "cluster", weight) : one;
  });
}

/** By class: lower for classes that the mentee is seldom sure of, so that they are not left without labels (FlexMatch, arXiv
 * 2110.08263, with its warm-up and convex mapping); never below LOWEST_THRESHOLD, which is ours. */
export function adaptiveThresholds(probability: readonly Row[], threshold: number): number[] {
  const counts = new Array<number>(probability[0]?.length ?? 0).fill(0);
  let sure = 0;
  for (const row of probability) {
    const [best, value] = top(row);
    if (value < threshold) continue;
    counts[best]!++;
    sure++;
  }
  const most = Math.max(...counts, probability.length - sure, 1);
  return counts.map((count) => {
    const share = count / most;
    return Math.max((share / (2 - share)) * threshold, Math.min(LOWEST_THRESHOLD, threshold));
  });
}

/** Near-misses in a stream: a frame right before a hit, whose class is among its two best with `near` ≤ p < `threshold`, takes
 * the hit's class. A hit has p ≥ `threshold`, or is labelled by the owner. Who is not understood repeats himself: the first try
 * was meant the same way. */
export function nearMisses(
  known: readonly Known[],
  probability: readonly Row[],
  threshold: number,
  near: number,
): Known[] {
  const hits = known.map((one, row) => {
    if (one.source === "owner") return one.label;
    const [best, sure] = top(probability[row]);
    return sure >= threshold ? best : UNLABELLED;
  });
  return known.map((one, frame) => {
    const label = hits[frame + 1] ?? UNLABELLED;
    if (label < 0 || one.label >= 0) return one;
    const row = probability[frame] ?? new Float64Array();
    const p = row[label] ?? 0;
    const second = row.filter((other) => other > p).length <= 1;
    return near <= p && p < threshold && second ? guessed(label, p, "near_miss") : one;
  });
}

/** A stream smoothed: a frame whose guess differs from the majority of the `window` around it takes the majority's label, as
 * sure as those it follows on average. The owner's labels vote and stay; all vote with what they had before; the frames at both
 * ends stay. */
export function agreed(known: readonly Known[], window: number): Known[] {
  const reach = window >> 1;
  return known.map((one, frame) => {
    if (frame < reach || frame >= known.length - reach || one.source === "owner") return one;
    const around = known.slice(frame - reach, frame + reach + 1);
    const votes = new Map<number, number>();
    for (const { label } of around) if (label >= 0) votes.set(label, (votes.get(label) ?? 0) + 1);
    const [winner, count] = [...votes].find(([, votes]) => 2 * votes > window) ?? [UNLABELLED, 0];
    if (!count || winner === one.label) return one;
    const sure = around.filter(({ label }) => label === winner).reduce((sum, { confidence }) => sum + confidence, 0);
    return guessed(winner, sure / count, "stream", GUESS_WEIGHT, one.label);
  });
}

function top(row: Row | undefined): readonly [number, number] {
  const best = highest(row ?? []);
  return [best, row?.[best] ?? 0];
}
