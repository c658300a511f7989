// Batches from samples: the owner's with their labels, replayed ones with the mentor's answers as well.
//
// Samples without a label or without a mentor's answer go through the same graph as those with: a mask says what counts, and what
// it hides is zeros. Axes: B samples of one batch, K classes.

import { KNOBS, activationInput, type Knob, type Knobs } from "../bundle/manifest/inputs.js";
import { LARGEST } from "../bundle/manifest/fields.js";
import type { Manifest } from "../bundle/manifest/manifest.js";
import { UNLABELLED, checkLabels, type Samples, type Supervision } from "../bundle/packs.js";
import { SampleError, elementsOf, preprocess, samplesIn, type Input } from "../bundle/preprocess.js";
import { float16ToFloat32 } from "../tensors/float16.js";

/** The feeds of one call of a graph. `labelled` weighs each label (0: it has none), `supervised` is 1 where the mentor answered;
 * what they hide is zeros. `layers`: the mentor's activations, by probe, and how many numbers a sample has there. */
export interface Batch {
  readonly size: number; // B
  readonly input: Float32Array; // [B, C, H, W], preprocessed
  readonly labels: Int32Array; // [B]
  readonly labelled: Float32Array; // [B]
  readonly mentorLogits: Float32Array; // [B, K]
  readonly supervised: Float32Array; // [B]
  readonly layers: ReadonlyMap<string, Float32Array>; // each [B, ...]
  readonly knobs: Knobs;
}

/** The mentor's answers to an owner's N samples: `known` [N] is 1 where there is one, `mentorLogits` [N, K] and per probe [N,
 * ...], half precision, are zeros elsewhere. */
export interface OwnAnswers {
  readonly known: Uint8Array;
  readonly mentorLogits: Float32Array;
  readonly activations: ReadonlyMap<string, Uint16Array>;
}

/** What a batch is mixed by. `weights` [B] of the owner's samples: 1, or the share of a label that was guessed; `answers` to
 * them. */
export interface Mixing {
  readonly ownerWeight?: number;
  readonly weights?: Float32Array;
  readonly answers?: OwnAnswers;
  readonly knobs?: Partial<Knobs>;
}

/** The owner's samples, with the mentor's answers where it was asked, then the replayed ones with theirs; `knobs` over the
 * bundle's defaults.
 *
 * `labelled` is 1 for an owner's label (or its share `weights`), 1/ownerWeight for a replayed one and 0 where there is none: the
 * graph takes weighted means. Throws SampleError for samples that do not fit the bundle, knobs and weights out of range. */
export function mixed(manifest: Manifest, samples: Samples, replay: Supervision | null, mixing: Mixing = {}): Batch {
  const { ownerWeight = 1, answers } = mixing;
  if (!(ownerWeight > 0 && ownerWeight < Number.POSITIVE_INFINITY)) {
    throw new SampleError(`ownerWeight is ${ownerWeight}, expected a finite number above 0`);
  }
  const B = samplesIn(samples.input, manifest.preprocessing);
  const labels = checkLabels(samples.labels, B, manifest.classes.length, UNLABELLED);
  const weights = checkedWeights(mixing.weights, B);
  const K = manifest.classes.length;
  const owner: Batch = {
    size: B,
    input: preprocess(samples.input, manifest.preprocessing),
    labels,
    labelled: Float32Array.from(labels, (label, row) => (label >= 0 ? (weights?.[row] ?? 1) : 0)),
    mentorLogits: answers?.mentorLogits ?? new Float32Array(B * K),
    supervised: answers === undefined ? new Float32Array(B) : Float32Array.from(answers.known),
    layers: new Map(
      Array.from(manifest.probes, ([probe, shape]) => {
        const said = answers?.activations.get(probe);
        return [probe, said === undefined ? new Float32Array(B * product(shape)) : float16ToFloat32(said)];
      }),
    ),
    knobs: checkedKnobs(manifest, mixing.knobs ?? {}),
  };
  return replay === null ? owner : withReplay(manifest, owner, replay, ownerWeight);
}

function withReplay(manifest: Manifest, owner: Batch, replay: Supervision, ownerWeight: number): Batch {
  const B = replay.samples.labels.length;
  const labels = checkLabels(replay.samples.labels, B, manifest.classes.length, UNLABELLED);
  const share = Math.fround(1 / Math.fround(ownerWeight));
  const layers = Array.from(owner.layers, ([probe, zeros]) => {
    const stored = replay.activations.get(probe) ?? new Uint16Array();
    return [probe, both(zeros, float16ToFloat32(stored))] as const;
  });
  return {
    size: owner.size + B,
    input: both(owner.input, preprocess(replay.samples.input, manifest.preprocessing)),
    labels: Int32Array.from([...owner.labels, ...labels]),
    labelled: both(
      owner.labelled,
      Float32Array.from(labels, (label) => (label >= 0 ? share : 0)),
    ),
    mentorLogits: both(owner.mentorLogits, float16ToFloat32(replay.mentorLogits)),
    supervised: both(owner.supervised, new Float32Array(B).fill(1)),
    layers: new Map(layers),
    knobs: owner.knobs,
  };
}

/** The samples from `start` up to `end`, under `knobs`. */
export function rowsOf(batch: Batch, start: number, end: number, knobs: Knobs): Batch {
  const part = <T extends Float32Array | Int32Array>(values: T): T => {
    const each = values.length / batch.size;
    return values.subarray(start * each, end * each) as T;
  };
  return {
    size: Math.min(end, batch.size) - start,
    input: part(batch.input),
    labels: part(batch.labels),
    labelled: part(batch.labelled),
    mentorLogits: part(batch.mentorLogits),
    supervised: part(batch.supervised),
    layers: new Map(Array.from(batch.layers, ([probe, values]) => [probe, part(values)])),
    knobs,
  };
}

/** One array a graph's input takes, with its axes. */
export interface Feed {
  readonly type: "float32" | "int64";
  readonly data: Float32Array | BigInt64Array;
  readonly dims: readonly number[];
}

/** The arrays by the graph's names. */
export function feedsOf(manifest: Manifest, batch: Batch): Map<string, Feed> {
  const { size: B } = batch;
  const floats = (data: Float32Array, ...dims: number[]): Feed => ({ type: "float32", data, dims });
  const labels = BigInt64Array.from(batch.labels, (label) => BigInt(label));
  return new Map<string, Feed>([
    ["input", floats(batch.input, B, ...manifest.preprocessing.shape)],
    ["labels", { type: "int64", data: labels, dims: [B] }],
    ["labelled", floats(batch.labelled, B)],
    ["mentor_logits", floats(batch.mentorLogits, B, manifest.classes.length)],
    ["supervised", floats(batch.supervised, B)],
    ...Array.from(manifest.probes, ([probe, shape]) => {
      return [activationInput(probe), floats(batch.layers.get(probe) ?? new Float32Array(), B, ...shape)] as const;
    }),
    ...KNOBS.map((name) => [name, floats(Float32Array.of(batch.knobs[name]), 1)] as const),
  ]);
}

/** Samples of these row numbers. */
export function takeSamples(manifest: Manifest, samples: Samples, rows: Int32Array): Samples {
  const each = elementsOf(manifest.preprocessing);
  return { input: takeRows(samples.input, each, rows), labels: takeRows(samples.labels, 1, rows) };
}

/** Answers of these row numbers. */
export function takeAnswers(manifest: Manifest, answers: OwnAnswers, rows: Int32Array): OwnAnswers {
  return {
    known: takeRows(answers.known, 1, rows),
    mentorLogits: takeRows(answers.mentorLogits, manifest.classes.length, rows),
    activations: takeLayers(manifest, answers.activations, rows),
  };
}

/** Replay samples of these row numbers, with their answers. */
export function takeSupervision(manifest: Manifest, pack: Supervision, rows: Int32Array): Supervision {
  return {
    samples: takeSamples(manifest, pack.samples, rows),
    mentorLogits: takeRows(pack.mentorLogits, manifest.classes.length, rows),
    activations: takeLayers(manifest, pack.activations, rows),
  };
}

function takeLayers(
  { probes }: Manifest,
  activations: ReadonlyMap<string, Uint16Array>,
  rows: Int32Array,
): Map<string, Uint16Array> {
  return new Map(
    Array.from(activations, ([probe, values]) => [probe, takeRows(values, product(probes.get(probe) ?? []), rows)]),
  );
}

function takeRows<T extends Input | Int32Array | Uint16Array>(values: T, each: number, rows: Int32Array): T {
  const taken = new (values.constructor as new (length: number) => T)(rows.length * each);
  rows.forEach((row, place) => taken.set(values.subarray(row * each, (row + 1) * each), place * each));
  return taken;
}

function checkedWeights(weights: Float32Array | undefined, B: number): Float32Array | undefined {
  if (weights !== undefined && (weights.length !== B || !weights.every((one) => one >= 0 && Number.isFinite(one)))) {
    throw new SampleError(`weights [${weights.length}] do not fit ${B} samples: expected finite ones of at least 0`);
  }
  return weights;
}

function checkedKnobs(manifest: Manifest, given: Partial<Knobs>): Knobs {
  const knobs = { ...manifest.knobs } as Record<Knob, number>;
  for (const name of KNOBS) {
    const value = given[name] ?? knobs[name];
    if (!(Math.abs(value) <= LARGEST) || value < 0 || (name === "temperature" && value === 0)) {
      throw new SampleError(
        `${name} is ${value}, expected a finite number ${name === "temperature" ? "above" : "of at least"} 0`,
      );
    }
    knobs[name] = Math.fround(value);
  }
  return knobs;
}

function both(one: Float32Array, other: Float32Array): Float32Array {
  const whole = new Float32Array(one.length + other.length);
  whole.set(one);
  whole.set(other, one.length);
  return whole;
}

function product(shape: readonly number[]): number {
  return shape.reduce((all, size) => all * size, 1);
}
