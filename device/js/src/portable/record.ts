// The record of an exported state: what it says of samples, versions, settings and the rest, and whether that makes sense.
//
// What refers to a part of the file is the part's number. The Python program has the same rules (relocate/portable/record.py).
// K classes.

import type { Bytes } from "../bytes.js";
import { LARGEST } from "../bundle/fields.js";
import { KNOBS, type Knob } from "../bundle/inputs.js";
import type { Manifest } from "../bundle/manifest.js";
import { RATE_RANGE } from "../bundle/parts.js";
import { SampleError, preprocess } from "../bundle/preprocess.js";
import type { Part, Stock } from "../bundle/stock.js";
import type { Json } from "../json.js";
import {
  Misfit,
  anything,
  flag,
  keys,
  listOf,
  matching,
  maybe,
  number,
  objectAt,
  oneOf,
  pair,
  tableOf,
  text,
  whole,
  type Check,
} from "./checks.js";
import type { FileContent } from "./container.js";

const MOST_AXES = 16;
const MOST_NAME = 100;
const FLOAT32_END = 3.4e38;
const WITH_SNAPSHOT = ["candidate", "accepted"];
const ITEM = { uint8: 1, float32: 4 } as const;

const time: Check = (value, where) => {
  matching(/[12]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\dZ/, "a time such as 2026-01-31T23:59:59Z")(value, where);
  const moment = new Date(String(value));
  if (Number.isNaN(moment.getTime()) || moment.toISOString() !== String(value).replace("Z", ".000Z")) {
    throw new Misfit(`${where} is ${String(value)}, which is no time`);
  }
};

/** A name that a class may be enrolled under: 1 to 100 printable characters without space around them. */
const className: Check = (value, where) => {
  const name = typeof value === "string" ? value : "";
  const odd = /[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u.test(name) || name !== name.trim();
  if (!name || [...name].length > MOST_NAME || odd) {
    throw new Misfit(`${where} is no name of 1 to ${MOST_NAME} printable characters`);
  }
};

const uint128: Check = (value, where) => {
  matching(/0|[1-9]\d{0,38}/, "a whole number of 128 bits as text")(value, where);
  if (BigInt(String(value)) >= 2n ** 128n) throw new Misfit(`${where} is beyond 128 bits`);
};

function curve(name: Knob): Check {
  const value = number({ most: LARGEST, ...(name === "temperature" ? { above: 0 } : { least: 0 }) });
  const points = listOf(pair(number({ least: 0, most: 1 }), value), undefined, 1);
  return (given, where) => {
    if (!Array.isArray(given)) return value(given, where);
    points(given, where);
    const positions = (given as Json[][]).map(([at]) => Number(at));
    if (positions.some((at, place) => at < (positions[place - 1] ?? 0))) {
      throw new Misfit(`${where} has positions that do not rise`);
    }
  };
}

function each<T extends string>(names: readonly T[], check: (name: T) => Check): Record<string, Check> {
  return Object.fromEntries(names.map((name) => [name, check(name)]));
}

const WHOLES = listOf(whole());
const PART = whole();
const SHARE = number({ least: 0, most: 1 });
const NATURAL = whole(1);
const DTYPE = oneOf("uint8", "float32");
const SOURCES = ["owner", "mentor", "near_miss", "stream", "cluster", "pseudo", "none"];
const REPLAYS = ["own", "mentor", "auto"];
const STORED = { number: NATURAL, time, source: oneOf(...SOURCES), weight: number({ above: 0 }) };
const INPUT = { dtype: DTYPE, input: PART, mentor_logits: maybe(PART) };
const RANDOM = keys({ state: uint128, inc: uint128, has_uint32: whole(0, 1), uinteger: whole(0, 2 ** 32 - 1) });
const BOUNDS = each(["steps", "seconds", "samples", "joules", "watts"], () => number({ above: 0 }));
const ABOVE = number({ above: 0, below: FLOAT32_END });
const CURVES = each(KNOBS, curve);
const PLAN = keys({
  ...each(["samples", "held", "unlabelled"], () => WHOLES),
  budget: keys({}, BOUNDS),
  batch: NATURAL,
  replay_batch: whole(),
  owner_weight: ABOVE,
  knobs: keys({}, CURVES),
  once: flag,
  save_every: NATURAL,
  replay: oneOf(...REPLAYS),
  rounds: whole(),
  guessed_batch: NATURAL,
  guess_weight: ABOVE,
  holdout: number({ least: 0, below: 1 }),
});
const PROGRESS = keys({}, { steps: whole(), seconds: number({ least: 0 }), samples: whole(), round: whole() });
const VECTORS = keys({ parameters: PART }, { statistics: PART, moment1: PART, moment2: PART });
const SNAPSHOT = keys({
  learning_rate: number({ least: RATE_RANGE[0], most: RATE_RANGE[1] }),
  random: RANDOM,
  taken: whole(),
  vectors: VECTORS,
});

const verdict: Check = (value, where) => {
  tableOf(text, anything)(value, where);
  const given = objectAt(value, where);
  const update = given.has("update") ? objectAt(given.get("update"), `${where}.update`) : new Map<string, Json>();
  maybe(number())(update.get("accuracy") ?? null, `${where}.update.accuracy`);
  listOf(text)(given.get("holds") ?? [], `${where}.holds`);
};

/** {} of a version whose run nobody knows any more. */
const plan: Check = (value, where) => {
  if (value instanceof Map && !value.size) return;
  PLAN(value, where);
  const given = objectAt(value, where);
  const budget = objectAt(given.get("budget"), where);
  if (!budget.size || budget.has("joules") !== budget.has("watts")) {
    throw new Misfit(`${where}.budget has no bound, or joules without watts`);
  }
  if (given.get("once") === true && Number(given.get("holdout")) !== 0)
    throw new Misfit(`${where} holds out of one pass`);
  if (given.get("replay") === "own" && highest(objectAt(given.get("knobs"), where).get("beta") ?? 0) > 0) {
    throw new Misfit(`${where} weighs layers that its replay has not`);
  }
};

function highest(curve: Json): number {
  return Array.isArray(curve) ? Math.max(...(curve as Json[][]).map(([, value]) => Number(value))) : Number(curve);
}

const VERSION = keys({
  number: NATURAL,
  parent: whole(),
  status: oneOf("candidate", "accepted", "dropped", "pruned", "unlearned", "damaged", "superseded"),
  time: maybe(time),
  bundle: text,
  step: whole(),
  learned: WHOLES,
  plan,
  progress: PROGRESS,
  verdict,
  why: text,
  identity: text,
  snapshot: maybe(SNAPSHOT),
  guesses: tableOf(matching(/[1-9]\d{0,14}/, "a sample's number"), whole()),
});
const SETTINGS = keys(
  {},
  {
    golden_drop: SHARE,
    ...each(["class_drop", "agreement_least", "ece_rise"], () => maybe(SHARE)),
    interpolate: flag,
    ...each(KNOBS, (name) => maybe(curve(name))),
    replay: oneOf(...REPLAYS),
    rounds: whole(),
    blocked: listOf(text),
    confidence_floor: SHARE,
    ...each(["most_samples", "most_sample_bytes", "most_versions"], () => NATURAL),
  },
);
const WATCH = keys({
  samples: maybe(whole(2)),
  seconds: maybe(number({ above: 0 })),
  capacity: whole(2, 1_000_000),
  percentile: number({ above: 0, below: 100 }),
  neighbours: NATURAL,
  seed: whole(),
  observing: flag,
  seen: whole(),
  first: maybe(number()),
  last: maybe(number()),
  ends: maybe(whole()),
  random: RANDOM,
  size: whole(1, 2 ** 24),
  stored: PART,
});
const LAYOUT = listOf(pair(text, listOf(NATURAL, 8)));
const PREPROCESSING = keys({
  shape: listOf(NATURAL, MOST_AXES, 1),
  mean: listOf(number({ least: -LARGEST, most: LARGEST })),
  std: listOf(number({ above: 0, most: LARGEST })),
  dtype: DTYPE,
});
const RECORD = keys({
  layout: keys({ parameters: LAYOUT, statistics: LAYOUT }),
  current: whole(),
  next: keys({ sample: NATURAL, version: NATURAL, enrolled: NATURAL }),
  samples: listOf(
    keys({ ...STORED, ...INPUT, label: whole(-1), confidence: maybe(number()), before: maybe(whole(-1)) }),
  ),
  aside: listOf(keys({ ...STORED, ...INPUT, class: text, preprocessing: PREPROCESSING })),
  enrolled: listOf(keys({ number: NATURAL, class: className, dtype: DTYPE, input: PART })),
  versions: listOf(VERSION),
  settings: SETTINGS,
  log: listOf(keys({ time: maybe(time), event: text, line: text, details: tableOf(text, anything) })),
  watch: maybe(WATCH),
});

type Dtype = keyof typeof ITEM;

export interface FileSample {
  readonly number: number;
  readonly time: string;
  readonly source: string;
  readonly weight: number;
  readonly dtype: Dtype;
  readonly input: number;
  readonly mentor_logits: number | null;
}

export interface FileSnapshot {
  readonly learning_rate: number;
  readonly random: FileRandom;
  readonly taken: number;
  readonly vectors: Readonly<Record<string, number>>;
}

export interface FileRandom {
  readonly state: string;
  readonly inc: string;
  readonly has_uint32: number;
  readonly uinteger: number;
}

export interface FileVersion {
  readonly number: number;
  readonly parent: number;
  readonly status: string;
  readonly time: string | null;
  readonly bundle: string;
  readonly step: number;
  readonly learned: readonly number[];
  readonly plan: Readonly<Record<string, unknown>>;
  readonly progress: Readonly<Record<string, number>>;
  readonly verdict: Readonly<Record<string, unknown>>;
  readonly why: string;
  readonly identity: string;
  readonly snapshot: FileSnapshot | null;
  readonly guesses: Readonly<Record<string, number>>;
}

export interface FileWatch {
  readonly samples: number | null;
  readonly seconds: number | null;
  readonly capacity: number;
  readonly percentile: number;
  readonly neighbours: number;
  readonly seed: number;
  readonly observing: boolean;
  readonly seen: number;
  readonly first: number | null;
  readonly last: number | null;
  readonly ends: number | null;
  readonly random: FileRandom;
  readonly size: number;
  readonly stored: number;
}

export interface FilePreprocessing {
  readonly shape: readonly number[];
  readonly mean: readonly number[];
  readonly std: readonly number[];
  readonly dtype: Dtype;
}

/** The record as JSON has it. */
export interface FileRecord {
  readonly layout: Readonly<Record<"parameters" | "statistics", readonly (readonly [string, readonly number[]])[]>>;
  readonly current: number;
  readonly next: { readonly sample: number; readonly version: number; readonly enrolled: number };
  readonly samples: readonly (FileSample & {
    readonly label: number;
    readonly confidence: number | null;
    readonly before: number | null;
  })[];
  readonly aside: readonly (FileSample & { readonly class: string; readonly preprocessing: FilePreprocessing })[];
  readonly enrolled: readonly {
    readonly number: number;
    readonly class: string;
    readonly dtype: Dtype;
    readonly input: number;
  }[];
  readonly versions: readonly FileVersion[];
  readonly settings: Readonly<Record<string, unknown>>;
  readonly log: readonly {
    readonly time: string | null;
    readonly event: string;
    readonly line: string;
    readonly details: Readonly<Record<string, unknown>>;
  }[];
  readonly watch: FileWatch | null;
}

/** The record, once all of it makes sense for the bundle of `manifest`. Throws Misfit. */
export function checked({ record: raw, parts }: FileContent, manifest: Manifest, stock: Stock): FileRecord {
  RECORD(raw, "");
  const record = plain(raw) as FileRecord;
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
  ];
  if (used.length !== parts.length || new Set(used).size !== parts.length)
    throw new Misfit("a part is not used, or not there, or used twice");
  checkSettings(record.settings, manifest);
  return record;
}

/** Objects for maps, numbers for whole ones. */
export function plain(value: Json): unknown {
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
  dtype: Dtype,
  size: number | null,
  where: string,
): Uint8Array | Float32Array {
  const data = partAt(parts, part);
  if (data.length % ITEM[dtype] || (size !== null && size !== data.length / ITEM[dtype])) {
    throw new Misfit(`${where} has ${data.length} bytes, expected ${size} numbers of ${dtype}`);
  }
  if (dtype === "uint8") return data;
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

export function sizeOf(parts: readonly Part[]): number {
  return parts.reduce((all, { shape }) => all + product(shape), 0);
}

function product(shape: readonly number[]): number {
  return shape.reduce((all, size) => all * size, 1);
}

function latin1(bytes: Bytes): string {
  return new TextDecoder("latin1").decode(bytes);
}
