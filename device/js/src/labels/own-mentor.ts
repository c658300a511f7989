// A mentor of the app's own, asked by `guess` about samples that have neither a label nor the mentor's answer. Axes: N samples, K
// classes.

import { SampleError, type Input } from "../bundle/preprocess.js";

/** From N stored samples in a row, at most 64 of them, to their logits [N, K] in a row, spare classes included; a row of NaN: it
 * was not asked about that one; null: it cannot be reached now. What it throws passes through, and nothing is labelled then. */
export type Mentor = (input: Input) => ArrayLike<number> | null | Promise<ArrayLike<number> | null>;

/** Throws SampleError for what is no function. */
export function requireMentor(mentor: Mentor | null): void {
  if (mentor === null || typeof mentor === "function") return;
  const kind = (Object(mentor) as object).constructor.name;
  throw new SampleError(`the mentor is ${kind}, expected a function that takes samples and gives their logits`);
}

/** The logits [K] of each of N samples, null where it was not asked. Throws SampleError. */
export async function ask(mentor: Mentor, input: Input, N: number, K: number): Promise<(Float64Array | null)[]> {
  const said = await mentor(input);
  if (said === null) return new Array<null>(N).fill(null);
  if (said?.length !== N * K) {
    throw new SampleError(
      `the mentor answered ${said?.length ?? "no"} numbers, expected logits [${N}, ${K}] in a row, ${N * K}, or null where ` +
        "it cannot be reached",
    );
  }
  const other = Array.from(said).findIndex((value) => typeof value !== "number");
  if (other >= 0) {
    throw new SampleError(
      `the mentor's logits of sample ${Math.floor(other / K)} have ${String(said[other])} for class ${other % K}: expected ` +
        "numbers, NaN where it was not asked (JSON makes null of NaN)",
    );
  }
  const logits = Float64Array.from(said);
  return Array.from({ length: N }, (_, row) => {
    const row_K = logits.subarray(row * K, (row + 1) * K);
    if (row_K.every(Number.isFinite)) return row_K;
    if (row_K.every(Number.isNaN)) return null;
    throw new SampleError(
      `the mentor's logits hold NaN or Inf, first for sample ${row} of ${N}: expected finite numbers, or NaN alone for one ` +
        "that it was not asked about",
    );
  });
}
