// The owner's samples: a piece of the state each, bounded in number and bytes, with where its label came from.

import { sha256, type Bytes } from "../bytes.js";
import { LARGEST } from "../bundle/manifest/fields.js";
import type { Manifest } from "../bundle/manifest/manifest.js";
import { unnamedOf } from "../bundle/manifest/spare.js";
import { UNLABELLED, checkLabels, type Samples } from "../bundle/packs.js";
import { SampleError, elementsOf, preprocess, requireScale, samplesIn, type Input } from "../bundle/preprocess.js";
import type { Content, Piece, Source, StoredSample } from "./record.js";
import { StateError, clock, type State } from "./state.js";

/** The most trusted first. */
export const SOURCES: readonly Source[] = [
  "owner",
  "mentor",
  "mentor-online",
  "near_miss",
  "stream",
  "cluster",
  "pseudo",
  "none",
];

export interface Adding {
  /** Of the labels; an unlabelled sample's is none. */
  readonly source?: Source;
  /** Of a label, against an owner's, which is 1. */
  readonly weight?: number;
  /** What the mentor said of the samples: [N, K] in a row, float32, spare classes included. `guess` labels by them. */
  readonly mentorLogits?: ArrayLike<number> | null;
}

/** Stores samples, all or none; their numbers. The same sample twice is one, which takes the new label, and the mentor's logits
 * where there are new ones, if that label is trusted as much or more. Where a bound of the settings is reached others go, which the
 * log says. Throws SampleError for any that does not fit. */
export async function addSamples(
  state: State,
  manifest: Manifest,
  samples: Samples,
  adding: Adding,
): Promise<number[]> {
  const { source = "owner", weight = 1, mentorLogits = null } = adding;
  const rules = manifest.preprocessing;
  if (!SOURCES.includes(source))
    throw new SampleError(`no source "${source}" of labels; there are ${SOURCES.join(", ")}`);
  if (!(weight > 0 && weight < Number.POSITIVE_INFINITY))
    throw new SampleError(`weight is ${weight}, expected a finite number above 0`);
  preprocess(samples.input, rules);
  requireScale(samples.input, rules);
  const labels = checkLabels(samples.labels, samplesIn(samples.input, rules), manifest.classes.length, UNLABELLED);
  const nameless = labels.findIndex((label) => unnamedOf(manifest).includes(label));
  if (nameless >= 0) {
    throw new SampleError(
      `label ${labels[nameless]} of sample ${nameless} is a spare class without a name: name it first, with nameClass()`,
    );
  }
  if (source === "none" && labels.some((label) => label >= 0)) {
    throw new SampleError('source is "none", but some samples have a label: say whose it is');
  }
  const K = manifest.classes.length;
  const said = mentorLogits === null ? null : logitsOf(mentorLogits, labels.length, K);
  const { now } = state;
  const stored = new Map(now.samples.map((one) => [one.number, one]));
  const bySum = new Map(now.samples.map((one) => [one.sha256, one.number]));
  let next = now.next.sample;
  const numbers: number[] = [];
  for (const [row, label] of labels.entries()) {
    const content = bytesOf(samples.input, elementsOf(rules), row);
    const known = bySum.get(await sha256(content));
    const before = known === undefined ? undefined : stored.get(known);
    const about = { time: clock(), source: label < 0 ? ("none" as const) : source, label, weight };
    const number = before?.number ?? next++;
    numbers.push(number);
    if (before !== undefined && SOURCES.indexOf(about.source) > SOURCES.indexOf(before.source)) continue;
    const guess = { confidence: null, before: null };
    const logits = said && (await state.put(`sample-${number}-answers`, bytesOf(said, K, row)));
    if (before !== undefined) {
      const answered = { mentorLogits: logits ?? before.mentorLogits };
      stored.set(number, { ...before, ...about, ...guess, ...answered, time: before.time });
      continue;
    }
    const piece = await state.put(`sample-${number}`, content);
    const dtype = samples.input instanceof Uint8Array ? "uint8" : "float32";
    stored.set(number, { ...piece, ...about, ...guess, number, dtype, mentorLogits: logits });
    bySum.set(piece.sha256, number);
  }
  const gone = new Set(tooMany([...stored.values()], now.settings.mostSamples, now.settings.mostSampleBytes));
  const left = [...stored.values()].filter(({ number }) => !gone.has(number));
  const lost = gone.size ? `, ${gone.size} went, the settings' bounds were reached` : "";
  await state.change(
    { samples: left, next: { ...now.next, sample: next } },
    "samples",
    `${numbers.length} samples were added${lost}`,
  );
  return numbers;
}

/** [N, K] as float32. Throws SampleError. */
function logitsOf(given: ArrayLike<number>, N: number, K: number): Float32Array {
  const expected = `expected [${N}, ${K}] in a row, a Float32Array of ${N * K} for ${N} samples and ${K} classes`;
  if (given?.length !== N * K) {
    throw new SampleError(`the mentor's logits are ${given?.length ?? "no"} numbers, ${expected}`);
  }
  const wrong = Array.from(given).findIndex((value) => !(typeof value === "number" && Math.abs(value) <= LARGEST));
  if (wrong >= 0) {
    const where = `sample ${Math.floor(wrong / K)} have ${String(given[wrong])}`;
    throw new SampleError(`the mentor's logits of ${where} for class ${wrong % K}: expected finite numbers of float32`);
  }
  return Float32Array.from(given);
}

/** Samples, the weights of their labels, and their numbers. */
export type Stored = readonly [Samples, Float32Array, number[]];

/** The samples of these numbers, in their order, the weights of their labels, and the numbers of those that are there. One that is
 * damaged is left out, and removed. */
export async function readSamples(state: State, manifest: Manifest, wanted: readonly number[]): Promise<Stored> {
  const there = new Map(state.now.samples.map((one) => [one.number, one]));
  const found: [StoredSample, Input][] = [];
  const broken = new Set<number>();
  for (const number of wanted) {
    const about = there.get(number);
    if (about === undefined) continue;
    const content = await state.get(about);
    if (content === null) broken.add(number);
    else found.push([about, inputOf(content, about.dtype)]);
  }
  if (broken.size) {
    await state.change(
      without(broken),
      "mended",
      `${broken.size} damaged samples were removed: ${[...broken].join(", ")}`,
    );
  }
  const weights = Float32Array.from(found, ([about]) => about.weight);
  return [stacked(manifest, found), weights, found.map(([about]) => about.number)];
}

function without(broken: ReadonlySet<number>) {
  return ({ samples }: Content) => ({ samples: samples.filter(({ number }) => !broken.has(number)) });
}

/** Samples of these contents; where some are raw and some were preprocessed already, all are preprocessed. */
export function stacked(manifest: Manifest, found: readonly (readonly [{ readonly label: number }, Input])[]): Samples {
  const rules = manifest.preprocessing;
  const raw = found.every(([, input]) => input instanceof rawOf(manifest));
  const each = elementsOf(rules);
  const input = new (raw ? rawOf(manifest) : Float32Array)(found.length * each);
  found.forEach(([, one], row) => input.set(raw ? one : preprocess(one, rules), row * each));
  return { input, labels: Int32Array.from(found, ([{ label }]) => label) };
}

/** The content of one piece, raw or preprocessed. Throws StateError where it was altered. */
export async function readInput(state: State, piece: Piece & { readonly dtype: "uint8" | "float32" }): Promise<Input> {
  const content = await state.get(piece);
  if (content === null) throw new StateError(`${piece.piece} is damaged: remove it`);
  return inputOf(content, piece.dtype);
}

export function bytesOf(input: Input, each: number, row: number): Bytes {
  const part = input.slice(row * each, (row + 1) * each);
  return new Uint8Array(part.buffer as ArrayBuffer, part.byteOffset, part.byteLength);
}

/** Numbers of the samples that go until both bounds hold: first unlabelled ones, then those with a guessed label, then the owner's
 * own; among equals one of the class with the most samples; of that class the oldest. `stored`: oldest first. */
export function tooMany(stored: readonly StoredSample[], most: number, mostBytes: number): number[] {
  const left = [...stored];
  const gone: number[] = [];
  let bytes = left.reduce((sum, one) => sum + bytesWith(one), 0);
  while (left.length && (left.length > most || bytes > mostBytes)) {
    const least = Math.min(...left.map(trust));
    const perClass = new Map<number, number>();
    for (const { label } of left) perClass.set(label, (perClass.get(label) ?? 0) + 1);
    const among = left.filter((one) => trust(one) === least);
    const largest = Math.max(...among.map(({ label }) => perClass.get(label) ?? 0));
    const first = among.find(({ label }) => perClass.get(label) === largest);
    if (first === undefined) break;
    left.splice(left.indexOf(first), 1);
    bytes -= bytesWith(first);
    gone.push(first.number);
  }
  return gone;
}

/** Its own, and those of the mentor's logits. */
function bytesWith({ bytes, mentorLogits }: StoredSample): number {
  return bytes + (mentorLogits?.bytes ?? 0);
}

function trust({ source }: StoredSample): number {
  return source === "none" ? 0 : source === "owner" ? 2 : 1;
}

function rawOf(manifest: Manifest): typeof Uint8Array | typeof Float32Array {
  return manifest.preprocessing.dtype === "uint8" ? Uint8Array : Float32Array;
}

export function inputOf(content: Bytes, dtype: "uint8" | "float32"): Input {
  const own = new Uint8Array(content); // aligned
  return dtype === "uint8" ? own : new Float32Array(own.buffer);
}
