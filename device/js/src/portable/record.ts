// Whether the record of an exported state and its parts make sense, together and for a bundle. The Python program has the same rules
// (relocate/portable/record.py). K classes.

import type { Bytes } from "../bytes.js";
import { LARGEST } from "../bundle/manifest/fields.js";
import type { Manifest } from "../bundle/manifest/manifest.js";
import { withNames } from "../bundle/manifest/spare.js";
import { SampleError, preprocess } from "../bundle/preprocess.js";
import { sizeOf, type Stock } from "../bundle/manifest/stock.js";
import type { Json } from "../json.js";
import { float16Finite } from "../tensors/float16.js";
import { Misfit } from "./checks.js";
import type { FileContent } from "./container.js";
import { RECORD, highest } from "./schema.js";
import type { Dtype, FileRecord } from "./shape.js";

const WITH_SNAPSHOT = ["candidate", "accepted"];
const ITEM = { uint8: 1, float16: 2, float32: 4 } as const;

/** The record, once all of it makes sense for the bundle of `manifest`. Throws Misfit. */
export function checked({ record: raw, parts }: FileContent, bundle: Manifest, stock: Stock): FileRecord {
  RECORD(raw, "");
  const record = plain(raw) as FileRecord;
  const manifest = namedAs(record, bundle);
  requireRising(record.samples, "samples", record.next.sample);
  requireRising(record.versions, "versions", record.next.version);
  requireRising(record.enrolled, "enrolled", record.next.enrolled);
  requireRising(record.aside, "aside", record.next.sample);
  const there = new Set(record.samples.map((one) => one.number));
  if (record.aside.some((one) => there.has(one.number))) throw new Misfit("a sample is stored and set aside");
  const used = [
    ...usedBySamples(record, parts, manifest),
    ...usedByVersions(record, parts, manifest, stock),
    ...usedByWatch(record, parts),
    ...usedByAnswers(record, parts, manifest),
  ];
  if (used.length !== parts.length || new Set(used).size !== parts.length)
    throw new Misfit("a part is not used, or not there, or used twice");
  checkSettings(record.settings, manifest);
  return record;
}

/** The bundle as the record calls its classes. */
function namedAs({ names = {}, lost_names = [] }: FileRecord, bundle: Manifest): Manifest {
  const manifest = withNames(bundle, names);
  if (Object.entries(names).some(([spare, name]) => manifest.names[spare] !== name)) {
    throw new Misfit("names are not of spare classes of the bundle, or two classes have one");
  }
  if (new Set([...manifest.classes, ...lost_names]).size !== manifest.classes.length + lost_names.length) {
    throw new Misfit("lost_names has one twice, or one that a class has");
  }
  return manifest;
}

/** Objects for maps, numbers for whole ones. */
function plain(value: Json): unknown {
  if (value instanceof Map) return Object.fromEntries(Array.from(value, ([name, one]) => [name, plain(one)]));
  if (Array.isArray(value)) return value.map(plain);
  return typeof value === "bigint" ? Number(value) : value;
}

function requireRising(rows: readonly { readonly number: number }[], name: string, end: number): void {
  if (rows.every((row, place) => row.number > (rows[place - 1]?.number ?? 0) && row.number < end)) return;
  throw new Misfit(`${name} have numbers that do not rise, or lie beyond the next one`);
}

function* usedBySamples(record: FileRecord, parts: readonly Bytes[], manifest: Manifest): Generator<number> {
  const K = manifest.classes.length;
  const seen = new Set<string>();
  for (const one of record.samples) {
    const where = `sample ${one.number}`;
    if (one.label >= K || (one.before ?? 0) >= K || one.label >= 0 === (one.source === "none")) {
      throw new Misfit(`${where} has the label ${one.label} by ${one.source}`);
    }
    yield one.input;
    requireFit(one, parts, manifest, where);
    const mark = `${one.dtype} ${latin1(partAt(parts, one.input))}`;
    if (seen.has(mark)) throw new Misfit(`${where} is stored twice`);
    seen.add(mark);
    yield* logitsOf(one.mentor_logits, parts, K, where);
  }
  for (const one of record.aside) {
    const where = `sample ${one.number}, which is set aside,`;
    const { shape, mean, std, dtype } = one.preprocessing;
    if (mean.length !== shape[0] || std.length !== shape[0])
      throw new Misfit(`${where} has not one mean and std a channel`);
    if (one.dtype === "uint8" && dtype !== "uint8") throw new Misfit(`${where} is uint8 of a bundle of float32`);
    yield one.input;
    valuesOf(parts, one.input, one.dtype, product(shape), where);
    yield* logitsOf(one.mentor_logits, parts, null, where);
  }
  for (const one of record.enrolled) {
    yield one.input;
    requireFit(one, parts, manifest, `enrolled sample ${one.number}`);
  }
}

function requireFit(
  one: { readonly dtype: Dtype; readonly input: number },
  parts: readonly Bytes[],
  manifest: Manifest,
  where: string,
): void {
  const rules = manifest.preprocessing;
  const values = valuesOf(parts, one.input, one.dtype, product(rules.shape), where);
  try {
    preprocess(values, rules);
  } catch (error) {
    if (!(error instanceof SampleError)) throw error;
    throw new Misfit(`${where}: ${error.message}`);
  }
}

function* logitsOf(
  part: number | null,
  parts: readonly Bytes[],
  size: number | null,
  where: string,
): Generator<number> {
  if (part === null) return;
  yield part;
  const values = valuesOf(parts, part, "float32", size, where) as Float32Array;
  if (!values.every((value) => Math.abs(value) <= LARGEST))
    throw new Misfit(`${where} has mentor's logits beyond float32`);
}

function partAt(parts: readonly Bytes[], part: number): Bytes {
  const found = parts[part];
  if (found === undefined) throw new Misfit(`part ${part} is not there`);
  return found;
}

/** The numbers of a part, finite, `size` of them; null: any. */
function valuesOf(
  parts: readonly Bytes[],
  part: number,
  dtype: keyof typeof ITEM,
  size: number | null,
  where: string,
): Uint8Array | Float32Array {
  const data = partAt(parts, part);
  if (data.length % ITEM[dtype] || (size !== null && size !== data.length / ITEM[dtype])) {
    throw new Misfit(`${where} has ${data.length} bytes, expected ${size} numbers of ${dtype}`);
  }
  if (dtype === "uint8") return data;
  if (dtype === "float16") {
    const halves = new Uint16Array(data.buffer, data.byteOffset, data.length / 2);
    if (!float16Finite(halves)) throw new Misfit(`${where} holds NaN or Inf`);
    return data;
  }
  const values = new Float32Array(data.buffer, data.byteOffset, data.length / 4); // a part has memory of its own
  if (!values.every(Number.isFinite)) throw new Misfit(`${where} holds NaN or Inf`);
  return values;
}

function* usedByVersions(
  record: FileRecord,
  parts: readonly Bytes[],
  manifest: Manifest,
  stock: Stock,
): Generator<number> {
  const K = manifest.classes.length;
  requireLayout(record.layout, stock);
  const sizes = { parameters: sizeOf(stock.parameters), statistics: sizeOf(stock.statistics) };
  const status = new Map([[0, "accepted"]]);
  for (const one of record.versions) {
    const where = `version ${one.number}`;
    if (!status.has(one.parent)) throw new Misfit(`${where} grew from ${one.parent}, which is not there`);
    const unfinished = one.status === "candidate";
    const bare = !Object.keys(one.plan).length;
    if ((one.snapshot !== null) !== WITH_SNAPSHOT.includes(one.status) || (bare && unfinished)) {
      throw new Misfit(`${where} is ${one.status}, and has no snapshot or plan, or one too many`);
    }
    if (unfinished && [...status.values()].includes("candidate"))
      throw new Misfit(`${where} is a second unfinished run`);
    const guesses = Object.values(one.guesses);
    if (guesses.length && (!unfinished || guesses.some((label) => label >= K))) {
      throw new Misfit(`${where} has guesses that no run goes on with, or of no class`);
    }
    if (one.snapshot !== null) {
      if (one.bundle !== manifest.id) throw new Misfit(`${where} is of another bundle`);
      const { vectors } = one.snapshot;
      if ((vectors["statistics"] !== undefined) !== sizes.statistics > 0) {
        throw new Misfit(`${where} lacks statistics, or has some that its layout has not`);
      }
      for (const [name, part] of Object.entries(vectors)) {
        yield part;
        valuesOf(parts, part, "float32", name === "statistics" ? sizes.statistics : sizes.parameters, where);
      }
      const moments = ["moment1", "moment2"].filter((name) => vectors[name] !== undefined);
      if (moments.length && (moments.length !== stock.moments || moments[0] === "moment2")) {
        throw new Misfit(`${where} has other moments than the bundle's optimizer`);
      }
    }
    status.set(one.number, one.status);
  }
  if (status.get(record.current) !== "accepted") {
    throw new Misfit(`version ${record.current} answers, which is not there or not accepted`);
  }
}

function requireLayout(layout: FileRecord["layout"], stock: Stock): void {
  for (const kind of ["parameters", "statistics"] as const) {
    const expected = stock[kind].map(({ name, shape }) => [name, shape]);
    if (JSON.stringify(layout[kind]) !== JSON.stringify(expected))
      throw new Misfit(`layout.${kind} is not the bundle's`);
  }
}

function* usedByWatch({ watch }: FileRecord, parts: readonly Bytes[]): Generator<number> {
  if (watch === null) return;
  yield watch.stored;
  const count = valuesOf(parts, watch.stored, "float32", null, "watch").length / watch.size;
  const fits = Number.isInteger(count) && count <= Math.min(watch.capacity, watch.seen);
  if (!fits || watch.neighbours >= watch.capacity || (watch.samples === null && watch.seconds === null)) {
    throw new Misfit("watch makes no sense");
  }
  if ((watch.ends === null) !== (watch.samples === null) || (watch.first !== null && watch.last === null)) {
    throw new Misfit("watch does not know when it ends");
  }
}

function* usedByAnswers(record: FileRecord, parts: readonly Bytes[], manifest: Manifest): Generator<number> {
  const { answers = [], asked, samples, next } = record;
  const there = new Set(samples.map((one) => one.number));
  requireRising(answers, "answers", next.sample);
  for (const { number, version, mentor_logits, activations } of answers) {
    const where = `the answer to sample ${number}`;
    if (!there.has(number) || version >= next.version) throw new Misfit(`${where} is to none, or of a version to come`);
    if (JSON.stringify(Object.keys(activations).sort()) !== JSON.stringify([...manifest.probes.keys()].sort())) {
      throw new Misfit(`${where} is of other layers than the bundle's`);
    }
    yield* logitsOf(mentor_logits, parts, manifest.classes.length, where);
    for (const [probe, shape] of manifest.probes) {
      const part = activations[probe] ?? 0;
      yield part;
      valuesOf(parts, part, "float16", product(shape), where);
    }
  }
  if (asked === undefined) return;
  const waiting = asked["waiting"] as number[];
  const told = [asked["left"], asked["refused"]].flatMap((rows) => Object.keys(rows as object));
  if (
    waiting.some((number) => !there.has(number)) ||
    new Set(waiting).size !== waiting.length ||
    told.some((number) => Number(number) >= next.sample)
  ) {
    throw new Misfit("asked is about samples that are not there, or one twice");
  }
}

function checkSettings(settings: FileRecord["settings"], { classes }: Manifest): void {
  const blocked = new Set((settings["blocked"] ?? []) as string[]);
  if ([...blocked].some((name) => !classes.includes(name)) || blocked.size === classes.length) {
    throw new Misfit("settings block a class that is none, or all");
  }
  const beta = settings["beta"] ?? 0;
  if (settings["replay"] === "own" && highest(beta as Json) > 0) {
    throw new Misfit("settings weigh layers that their replay has not");
  }
}

function product(shape: readonly number[]): number {
  return shape.reduce((all, size) => all * size, 1);
}

function latin1(bytes: Bytes): string {
  return new TextDecoder("latin1").decode(bytes);
}
