// The two packs of samples in a bundle: what replay draws from, and what the guard judges by.
//
// Axes: N samples, K classes.

import { float16Finite } from "../tensors/float16.js";
import { NotTensors, readTensors, type Tensor, type Tensors } from "../tensors/safetensors.js";
import { BundleError, shown } from "./errors.js";
import { activationInput } from "./manifest/inputs.js";
import { NotJson, parseJson } from "../json.js";
import type { Manifest } from "./manifest/manifest.js";
import { packedOf } from "./manifest/spare.js";
import { SampleError, elementsOf, preprocess, type Input } from "./preprocess.js";

export const UNLABELLED = -1;

/** `input` of N samples as `preprocess` takes it; `labels` [N], −1 = unlabelled. */
export interface Samples {
  readonly input: Input;
  readonly labels: Int32Array;
}

/** Samples that carry the mentor's answers, in half precision as stored: `mentorLogits` [N, K] and per probe [N, ...]. */
export interface Supervision {
  readonly samples: Samples;
  readonly mentorLogits: Uint16Array;
  readonly activations: ReadonlyMap<string, Uint16Array>;
}

/** `input` and `labels` of golden.safetensors. Throws BundleError. */
export function readGolden(file: Uint8Array, name: string, manifest: Manifest): Samples {
  return samplesOf(tensorsOf(file, name, ["input", "labels"], manifest), name, manifest, 0);
}

/** supervision.safetensors, every shape checked against the manifest's. Throws BundleError. */
export function readSupervision(file: Uint8Array, name: string, manifest: Manifest): Supervision {
  const probes = Array.from(manifest.probes, ([probe, shape]) => [activationInput(probe), shape] as const);
  const answers = [["mentor_logits", [manifest.classes.length]] as const, ...probes];
  const tensors = tensorsOf(file, name, ["input", "labels", ...answers.map(([key]) => key)], manifest);
  const samples = samplesOf(tensors, name, manifest, UNLABELLED);
  const read = answers.map(([key, shape]) => {
    const tensor = named(tensors, key);
    const expected = [samples.labels.length, ...shape];
    if (tensor.dtype !== "F16" || !sameShape(tensor.shape, expected)) {
      throw new BundleError(
        `${name}: ${shown(key)} is ${tensor.dtype} ${shown(tensor.shape)}, expected F16 ${shown(expected)}`,
      );
    }
    const halves = tensor.data as Uint16Array;
    if (!float16Finite(halves)) {
      throw new BundleError(`${name}: ${shown(key)} holds NaN or Inf (an overflow of float16?): make the bundle again`);
    }
    return halves;
  });
  const [mentorLogits = new Uint16Array(), ...layers] = read;
  const activations = new Map(
    Array.from(manifest.probes.keys(), (probe, place) => [probe, layers[place] ?? new Uint16Array()]),
  );
  return { samples, mentorLogits, activations };
}

/** [N] of any integer dtype -> int32, each `least` … K−1. Throws SampleError. */
export function checkLabels(
  labels: ArrayLike<number | bigint>,
  samples: number,
  classes: number,
  least: number,
): Int32Array {
  if (labels?.length === undefined) {
    throw new SampleError("labels are missing: give one number for each sample, the class or -1 for unlabelled");
  }
  if (labels.length !== samples) {
    throw new SampleError(`${labels.length} labels of ${samples} samples: expected one each`);
  }
  return Int32Array.from({ length: samples }, (_, place) => {
    const given: unknown = labels[place];
    const label = typeof given === "bigint" ? Number(given) : given;
    if (typeof label === "number" && Number.isInteger(label) && label >= least && label < classes) return label;
    const extra = least < 0 ? ", or -1 for unlabelled" : "";
    throw new SampleError(
      `label ${String(label)} of sample ${place} is outside the classes: expected 0 to ${classes - 1}${extra}`,
    );
  });
}

function tensorsOf(file: Uint8Array, name: string, wanted: readonly string[], manifest: Manifest): Tensors {
  let read: Tensors;
  const packed = packedOf(manifest);
  let classes: unknown = packed; // packs of older bundles do not say theirs
  try {
    read = readTensors(file);
    const stated = read.metadata.get("classes");
    if (stated !== undefined) classes = parseJson(stated);
  } catch (error) {
    if (!(error instanceof NotTensors || error instanceof NotJson)) throw error;
    throw new BundleError(`${name} is not a safetensors file (${error.message}): make the bundle again`);
  }
  if (!Array.isArray(classes) || !sameShape(classes, packed)) {
    throw new BundleError(
      `${name} has labels of other classes than manifest.json, or in another order: make the bundle again`,
    );
  }
  const missing = wanted.filter((key) => !read.tensors.has(key));
  if (missing.length) {
    throw new BundleError(
      `${name} lacks ${shown(missing)}, it has ${shown([...read.tensors.keys()])}: make the bundle again`,
    );
  }
  return read;
}

function samplesOf(tensors: Tensors, name: string, manifest: Manifest, least: number): Samples {
  const [input, labels] = [named(tensors, "input"), named(tensors, "labels")];
  const rules = manifest.preprocessing;
  if (input.dtype !== (rules.dtype === "uint8" ? "U8" : "F32")) {
    throw new BundleError(`${name}: input is ${input.dtype}, expected ${rules.dtype}`);
  }
  if (!input.shape.length || !sameShape(input.shape.slice(1), rules.shape)) {
    throw new BundleError(
      `${name}: input has samples of ${shown(input.shape.slice(1))}, expected ${shown(rules.shape)}`,
    );
  }
  if (labels.shape.length !== 1 || !/^[IU]\d+$/.test(labels.dtype)) {
    throw new BundleError(
      `${name}: labels are ${labels.dtype} ${shown(labels.shape)}, expected whole numbers, one per sample`,
    );
  }
  const given = input.data as Input;
  try {
    if (rules.dtype === "float32") preprocess(given, rules); // refuses now what would stop a step later
    const samples = given.length / elementsOf(rules);
    return { input: given, labels: checkLabels(labels.data, samples, manifest.classes.length, least) };
  } catch (error) {
    if (!(error instanceof SampleError)) throw error;
    throw new BundleError(`${name}: ${error.message}`);
  }
}

function named(tensors: Tensors, key: string): Tensor {
  const found = tensors.tensors.get(key);
  if (found === undefined) throw new BundleError(`the pack lacks ${shown(key)}`);
  return found;
}

function sameShape<T>(one: readonly T[], other: readonly T[]): boolean {
  return one.length === other.length && one.every((value, place) => value === other[place]);
}
