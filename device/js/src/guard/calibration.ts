// The expected calibration error of a mentee on the golden set, and what its rise is at least.
//
// Axes: N samples, K classes, B bins of confidence.

import { UNLIKELY } from "./chance.js";
import { highest, softmax } from "./answers.js";
import { Random } from "../learner/random.js";

const BINS = 15; // as in arXiv 1706.04599
const RESAMPLES = 400; // of the golden set, for what chance leaves open

/** A sample's bin, and hit − confidence. */
interface Gap {
  readonly bin: number;
  readonly gap: number;
}

/** Σ over bins of (share of samples) · |accuracy − mean confidence|, bins of equal width in confidence (arXiv 1706.04599). */
export function calibrationError(logits: Float32Array, labels: Int32Array): number {
  return total(gapsOf(logits, labels), null) / labels.length;
}

/** Lower bound of the rise in calibration error from `base` to `now`, logits [N, K] each: the 5 % quantile over 400 resamples,
 * the same for both (bootstrap, seeded: Python draws the same). */
export function leastRise(now: Float32Array, base: Float32Array, labels: Int32Array): number {
  const [after, before] = [gapsOf(now, labels), gapsOf(base, labels)];
  const random = Random.seeded(0);
  const rises = Float64Array.from({ length: RESAMPLES }, () => {
    const counts = random.multinomial(labels.length);
    return (total(after, counts) - total(before, counts)) / labels.length;
  });
  return quantile(rises.sort(), UNLIKELY);
}

function gapsOf(logits: Float32Array, labels: Int32Array): Gap[] {
  const K = logits.length / labels.length;
  const probability = softmax(logits, K);
  return Array.from(labels, (label, row) => {
    const row_K = probability.subarray(row * K, (row + 1) * K);
    const best = highest(row_K);
    const confidence = row_K[best] ?? 0;
    return { bin: Math.min(Math.floor(confidence * BINS), BINS - 1), gap: Number(best === label) - confidence };
  });
}

/** Σ over bins of |Σ of gaps|, each as often as `counts` says; null: once. */
function total(gaps: readonly Gap[], counts: Int32Array | null): number {
  const sums = new Float64Array(BINS);
  gaps.forEach(({ bin, gap }, row) => void (sums[bin]! += gap * (counts?.[row] ?? 1)));
  return sums.reduce((sum, one) => sum + Math.abs(one), 0);
}

/** numpy's, linear between the two nearest. */
function quantile(sorted: Float64Array, share: number): number {
  const place = (sorted.length - 1) * share;
  const below = Math.floor(place);
  const [low, high] = [sorted[below] ?? 0, sorted[Math.min(below + 1, sorted.length - 1)] ?? 0];
  return low + (high - low) * (place - below);
}
