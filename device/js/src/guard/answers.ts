// Answers from logits, behind the rails that an owner may set.
//
// Axes: N samples, K classes.

export const DONT_KNOW = -1;

/** `classes` [N], −1 for "don't know", and their `probability` [N]. */
export interface Answers {
  readonly classes: Int32Array;
  readonly probability: Float64Array;
}

/** A blocked class is never answered; the best of the others is. Its probability stays that among *all* classes, so what looks like
 * a blocked class is unlikely to be anything else and falls under the floor. */
export function answer(probabilities: Float64Array, K: number, blocked: ReadonlySet<number>, floor: number): Answers {
  const N = probabilities.length / K;
  const classes = new Int32Array(N).fill(DONT_KNOW);
  const probability = new Float64Array(N);
  for (let row = 0; row < N; row++) {
    const row_K = probabilities.subarray(row * K, (row + 1) * K);
    const best = highest(row_K.map((value, place) => (blocked.has(place) ? -1 : value)));
    probability[row] = row_K[best] ?? 0;
    if (!blocked.has(best) && (row_K[best] ?? 0) >= floor) classes[row] = best;
  }
  return { classes, probability };
}

/** Rows of K that sum to 1, in float64. */
export function softmax(logits: Float32Array | Float64Array, K: number): Float64Array {
  const normal = new Float64Array(logits.length);
  for (let start = 0; start < logits.length; start += K) {
    const row = logits.subarray(start, start + K);
    const most = row[highest(row)] ?? 0;
    let sum = 0;
    for (let place = 0; place < K; place++) sum += normal[start + place] = Math.exp((row[place] ?? 0) - most);
    for (let place = 0; place < K; place++) normal[start + place]! /= sum;
  }
  return normal;
}

/** The first `count` of each row of K. */
export function columnsOf(logits: Float32Array, K: number, count: number): Float32Array {
  return count === K ? logits : logits.filter((_, place) => place % K < count);
}

/** The place of the largest value, the first of equals. */
export function highest(values: ArrayLike<number>): number {
  let best = 0;
  for (let place = 1; place < values.length; place++) if ((values[place] ?? 0) > (values[best] ?? 0)) best = place;
  return best;
}

/** For each row of K its `highest`. */
export function highestRows(values: Float32Array, K: number): Int32Array {
  return Int32Array.from({ length: values.length / K }, (_, row) => highest(values.subarray(row * K, (row + 1) * K)));
}
