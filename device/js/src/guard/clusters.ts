// Groups of one owner's unlabelled samples: labels by where they lie together, not by one sample's softmax.
//
// The base's class means are moved onto the owner's groups, a few rounds of soft k-means on the sphere (arXiv 1803.00676, section
// 3.1.1, with a prior); both are centred on the mean of the class means and of length 1 (SimpleShot, arXiv 1911.04623).
// Axes: N samples, D embedding, K classes.

import { UNLABELLED } from "../bundle/packs.js";
import { highest } from "./answers.js";
import { Random } from "../learner/random.js";

const SHARPNESS = 10; // of the softmax over cosines: softer than an answer, so that a wrong first mean is not final
const ROUNDS = 6;
const HOLD = 2; // a base mean counts as this many samples
const DRAWS = 4; // halvings that a label has to survive

/** N samples under one set of parameters: `embedding` [N, D], `labels` [N], −1 for none. */
export interface Embedded {
  readonly embedding: Float32Array;
  readonly labels: Int32Array;
}

/** The class [N] with the largest share in each of `owner`'s samples, −1 where it hangs on the draw: where the groups of a random
 * half of the samples without a label would give another class, in any of four halves and their other halves. null where fewer
 * than two of `K` classes have a sample to start from, in `everybody`, the bundle's, or in the owner's.
 *
 * A group that is not there, or two that are one, are cut differently by other samples; so most wrong labels go. */
export function steadyClasses(owner: Embedded, everybody: Embedded, K: number, D: number): Int32Array | null {
  const begun = beginning(owner, everybody, K, D);
  if (begun === null) return null;
  const { known, starts, labels, rows } = begun;
  const found = grouped(rows, starts, labels, null);
  const classes = found.slice();
  const open = Int32Array.from(labels.keys()).filter((row) => (labels[row] ?? 0) < 0);
  const said = Array.from(labels.keys()).filter((row) => (labels[row] ?? 0) >= 0);
  for (let draw = 0; draw < DRAWS; draw++) {
    const mixed = Random.seeded(draw).permutation(open);
    const middle = Math.ceil(mixed.length / 2);
    for (const half of [mixed.subarray(0, middle), mixed.subarray(middle)]) {
      const again = grouped(rows, starts, labels, [...said, ...half]);
      again.forEach((place, row) => void (place === classes[row] || (classes[row] = UNLABELLED)));
    }
  }
  return classes.map((place) => (place < 0 ? UNLABELLED : (known[place] ?? UNLABELLED)));
}

/** The share that each class has in each of `owner`'s samples, N rows of K that add up to 1; null as `steadyClasses`. A class
 * without a sample to start from has none. */
export function shares(owner: Embedded, everybody: Embedded, K: number, D: number): Float64Array[] | null {
  const begun = beginning(owner, everybody, K, D);
  if (begun === null) return null;
  return sharesIn(begun.rows, begun.starts, begun.labels, null).map((own) => {
    const whole = new Float64Array(K);
    begun.known.forEach((label, place) => void (whole[label] = own[place] ?? 0));
    return whole;
  });
}

/** Classes that have a sample, the means that they start from, and the owner's labels by their places. */
function beginning(owner: Embedded, everybody: Embedded, K: number, D: number) {
  const means = meansOf(owner, everybody, K, D);
  const known = Array.from(means.keys()).sort((one, other) => one - other);
  if (known.length < 2) return null;
  const starts = known.map((label) => means.get(label) ?? new Float64Array(D));
  const labels = owner.labels.map((label) => (label < 0 ? UNLABELLED : known.indexOf(label)));
  return { known, starts, labels, rows: rowsOf(owner.embedding, D) };
}

/** For each row the place of the class with the largest share. */
function grouped(...given: Parameters<typeof sharesIn>): Int32Array {
  return Int32Array.from(sharesIn(...given), highest);
}

/** For each row the share of each class; `moving`: rows that move the means, null for all. */
function sharesIn(
  rows: readonly Float32Array[],
  starts: readonly Float64Array[],
  labels: Int32Array,
  moving: readonly number[] | null,
): Float64Array[] {
  const size = starts[0]?.length ?? 0;
  const centre = new Float64Array(size);
  for (const start of starts) start.forEach((value, place) => void (centre[place]! += value / starts.length));
  const centred = (vector: ArrayLike<number>): Float64Array =>
    lengthOne(centre.map((middle, place) => (vector[place] ?? 0) - middle));
  const base = starts.map(centred);
  const samples = rows.map(centred);
  let means = base;
  let shares: Float64Array[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    shares = samples.map((sample, row) => sharesOf(sample, means, labels[row] ?? UNLABELLED));
    if (round === ROUNDS) break;
    means = base.map((start, place) => {
      const mean = start.map((value) => HOLD * value);
      for (const row of moving ?? samples.keys()) {
        const share = shares[row]?.[place] ?? 0;
        samples[row]?.forEach((value, axis) => void (mean[axis]! += share * value));
      }
      return lengthOne(mean);
    });
  }
  return shares;
}

/** Of each class; what was said stays whole in its class. */
function sharesOf(sample: Float64Array, means: readonly Float64Array[], label: number): Float64Array {
  if (label >= 0) return Float64Array.from(means, (_, place) => Number(place === label));
  const shown = Float64Array.from(means, (mean) => Math.exp(SHARPNESS * (dot(sample, mean) - 1)));
  const sum = shown.reduce((all, one) => all + one, 0);
  return shown.map((one) => one / sum);
}

/** The mean of each class that has a sample: everybody's, or where they have none the owner's. In float32, as Python's. */
function meansOf(owner: Embedded, everybody: Embedded, K: number, D: number): Map<number, Float64Array> {
  const means = new Map<number, Float64Array>();
  for (const { embedding, labels } of [owner, everybody]) {
    const rows = rowsOf(embedding, D);
    for (let label = 0; label < K; label++) {
      const own = rows.filter((_, row) => labels[row] === label);
      if (!own.length) continue;
      const sum = new Float64Array(D);
      for (const row of own) row.forEach((value, place) => void (sum[place]! += value));
      means.set(
        label,
        sum.map((value) => Math.fround(value / own.length)),
      );
    }
  }
  return means;
}

function rowsOf(embedding: Float32Array, D: number): Float32Array[] {
  return Array.from({ length: embedding.length / D }, (_, row) => embedding.subarray(row * D, (row + 1) * D));
}

function dot(one: Float64Array, other: Float64Array): number {
  let sum = 0;
  for (let place = 0; place < one.length; place++) sum += (one[place] ?? 0) * (other[place] ?? 0);
  return sum;
}

function lengthOne(vector: Float64Array): Float64Array {
  const length = Math.max(Math.sqrt(dot(vector, vector)), 1e-12);
  return vector.map((value) => value / length);
}
