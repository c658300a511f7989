// Raw samples into what the graphs take. In float32, in the order of the formula, so that it is the server's bit for bit.
//
// Axes: N samples, C channels, E numbers of one sample (C·H·W).

import { FURTHEST, type Preprocessing } from "./manifest/parts.js";

const MARGIN = 0.01; // of the range of pixels: what resampling a preprocessed image may overshoot

/** Samples that do not fit the bundle; one line saying what was given and what was expected. */
export class SampleError extends Error {
  override readonly name = "SampleError";
}

/** N samples in a row, each C × H × W: raw in the bundle's dtype, or, where that is uint8, float32 that was preprocessed already. */
export type Input = Uint8Array | Float32Array;

/** Numbers of one sample. */
export function elementsOf(rules: Preprocessing): number {
  return rules.shape.reduce((product, size) => product * size, 1);
}

/** Samples in `input`. Throws SampleError where it holds no whole number of them, or is no array of these two types. */
export function samplesIn(input: Input, rules: Preprocessing): number {
  if (!(input instanceof Uint8Array || input instanceof Float32Array)) {
    const given: unknown = input;
    const raw = rules.dtype === "uint8" ? "raw pixels as Uint8Array.from(…)" : "raw numbers as Float32Array.from(…)";
    throw new SampleError(`input is ${kindOf(given)}, expected a Uint8Array or a Float32Array: give ${raw}`);
  }
  const count = input.length / elementsOf(rules);
  if (!Number.isInteger(count)) {
    throw new SampleError(
      `input has ${input.length} numbers, no whole number of samples of [${rules.shape.join(", ")}]: expected ` +
        `${elementsOf(rules)} each`,
    );
  }
  return count;
}

/** [N, C, H, W] -> float32, as the graphs take it. Throws SampleError.
 *
 * A bundle of uint8: raw uint8 becomes `(x/255 − mean)/std`, and float32 was preprocessed already and passes as it is.
 * A bundle of float32: raw float32 becomes `(x − mean)/std`; here nothing would tell a preprocessed sample from a raw one. */
export function preprocess(input: Input, rules: Preprocessing): Float32Array<ArrayBuffer> {
  samplesIn(input, rules);
  if (rules.dtype === "uint8")
    return input instanceof Uint8Array ? asItIs(ofPixels(input, rules)) : preprocessed(input, rules);
  if (!(input instanceof Float32Array))
    throw new SampleError("input is uint8, expected float32 on the scale of the bundle's data");
  return ofNumbers(input, rules);
}

const AS_IT_IS = new WeakSet<Input>();

/** Says that the numbers of `input` are meant as they are, whatever their range: see `requireScale`. Gives `input`. */
export function asItIs<T extends Input>(input: T): T {
  AS_IT_IS.add(input);
  return input;
}

/** Throws SampleError for samples of an owner that would be taken for others in silence: pixels over 255, over 127.5 less 1 or over
 * 255 less .5 pass for preprocessed ones, and nearly black ones may be over 255 already. Python's rule for ranges. */
export function requireScale(input: Input, rules: Preprocessing): void {
  if (rules.dtype !== "uint8" || !(samplesIn(input, rules) > 0) || AS_IT_IS.has(input)) return;
  let [lowest, highest] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of input) {
    if (value < lowest) lowest = value;
    if (value > highest) highest = value;
  }
  const meant = "or, where it is meant as it is, give asItIs(input)";
  if (input instanceof Uint8Array) {
    if (highest !== 1) return;
    throw new SampleError(
      `input is uint8 and has only 0 and 1, this bundle's pixels are 0 to 255: multiply by 255 if 1 is white; ${meant}`,
    );
  }
  if (rules.mean.every((mean) => mean === 0) && rules.std.every((std) => std === 1)) return;
  const ends = (pixel: number): number[] =>
    rules.mean.map((mean, channel) => (pixel - mean) / (rules.std[channel] ?? 1));
  const [from, to] = [Math.min(...ends(0)), Math.max(...ends(1))];
  const minus = [1, 0.5].find((end) => lowest === -end && highest <= end && Math.abs(from + end) > 1e-3);
  if (minus === undefined && !(lowest >= 0 && highest <= 1)) return;
  const range = minus === undefined ? "0 and 1, as pixels over 255 do" : `−${minus} and ${minus}, as scaled pixels do`;
  throw new SampleError(
    `input is float32 and lies between ${range}; preprocessed pixels of this bundle go from ${from.toPrecision(4)} to ` +
      `${to.toPrecision(4)}: give the pixels 0 to 255 as a Uint8Array; ${meant}`,
  );
}

function kindOf(given: unknown): string {
  return given === null || given === undefined
    ? "missing"
    : (Object(given) as object).constructor?.name || typeof given;
}

function ofPixels(input: Uint8Array, rules: Preprocessing): Float32Array<ArrayBuffer> {
  const tables = rules.mean.map((mean, channel) => {
    const [m, s] = [Math.fround(mean), Math.fround(rules.std[channel] ?? 1)];
    return Float32Array.from({ length: 256 }, (_, pixel) => Math.fround(Math.fround(pixel / 255) - m) / s);
  });
  const ready = new Float32Array(input.length);
  eachPlane(input.length, rules, (start, end, channel) => {
    const table = tables[channel] ?? new Float32Array(256);
    for (let i = start; i < end; i++) ready[i] = table[input[i] ?? 0] ?? 0;
  });
  return ready;
}

function ofNumbers(input: Float32Array, rules: Preprocessing): Float32Array<ArrayBuffer> {
  requireFinite(input, rules);
  const ready = new Float32Array(input.length);
  eachPlane(input.length, rules, (start, end, channel) => {
    const [m, s] = [Math.fround(rules.mean[channel] ?? 0), Math.fround(rules.std[channel] ?? 1)];
    for (let i = start; i < end; i++) {
      const value = Math.fround(Math.fround((input[i] ?? 0) - m) / s);
      if (!(Math.abs(value) <= FURTHEST)) {
        throw new SampleError(
          `input of sample ${Math.floor(i / elementsOf(rules))} lies more than ${FURTHEST} standard deviations from the mean ` +
            "of the bundle's data: is it in the same unit?",
        );
      }
      ready[i] = value;
    }
  });
  return ready;
}

function preprocessed(input: Float32Array, rules: Preprocessing): Float32Array<ArrayBuffer> {
  requireFinite(input, rules);
  eachPlane(input.length, rules, (start, end, channel) => {
    const [m, s] = [Math.fround(rules.mean[channel] ?? 0), Math.fround(rules.std[channel] ?? 1)];
    for (let i = start; i < end; i++) {
      const pixel = Math.fround(Math.fround((input[i] ?? 0) * s) + m); // 0 … 1 where it was made of a pixel
      if (Math.abs(pixel - 0.5) <= 0.5 + MARGIN) continue;
      throw new SampleError(
        `input is float32 and sample ${Math.floor(i / elementsOf(rules))} has ${input[i]}: no pixel 0 to 255 of this bundle ` +
          "becomes that; give raw uint8, or preprocess first",
      );
    }
  });
  return input.slice();
}

function requireFinite(input: Float32Array, rules: Preprocessing): void {
  const wrong = input.findIndex((value) => !Number.isFinite(value));
  if (wrong < 0) return;
  throw new SampleError(
    `input has NaN or Inf, first in sample ${Math.floor(wrong / elementsOf(rules))}: expected finite numbers`,
  );
}

/** Calls `visit` with the first and the last place of each channel of each sample. */
function eachPlane(
  length: number,
  rules: Preprocessing,
  visit: (start: number, end: number, channel: number) => void,
): void {
  const channels = rules.shape[0] ?? 1;
  const size = elementsOf(rules) / channels;
  for (let start = 0, plane = 0; start < length; start += size, plane++) visit(start, start + size, plane % channels);
}
