// Answers over spare classes, which the mentor has no opinion on. Axes: N samples, K classes.

const LARGEST_HALF = 65504;

/** The mentor's logits [N, K], the last `spare` such that at `temperature` its softmax gives them the share that the base's
 * does, as a bundle's pack has them: a mentor that excluded them would unteach the owner's classes. */
export function withSpare(
  mentor: Float32Array,
  base: Float32Array,
  K: number,
  spare: number,
  temperature: number,
): Float32Array {
  const known = K - spare;
  const whole = mentor.slice();
  for (let start = 0; start < mentor.length; start += K) {
    const row = (logits: Float32Array): number[] =>
      Array.from(logits.subarray(start, start + K), (one) => one / temperature);
    const [said, thought] = [row(mentor), row(base)];
    const shift = logSumExp(said.slice(0, known)) - logSumExp(thought.slice(0, known));
    for (let place = known; place < K; place++) whole[start + place] = ((thought[place] ?? 0) + shift) * temperature;
  }
  return whole.map((one) => Math.min(LARGEST_HALF, Math.max(-LARGEST_HALF, one)));
}

function logSumExp(values: readonly number[]): number {
  const highest = Math.max(...values);
  return Math.log(values.reduce((sum, one) => sum + Math.exp(one - highest), 0)) + highest;
}
