// What the record of an exported state may be, key by key, whatever bundle it is for. The Python program has the same rules
// (relocate/portable/schema.py).

import { LARGEST } from "../bundle/manifest/fields.js";
import { KNOBS, type Knob } from "../bundle/manifest/inputs.js";
import { RATE_RANGE } from "../bundle/manifest/parts.js";
import { CLASS_NAME, isClassName } from "../class-name.js";
import type { Json } from "../json.js";
import { SOURCES } from "../owner/samples.js";
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

const MOST_AXES = 16;
const FLOAT32_END = 3.4e38;

const time: Check = (value, where) => {
  matching(/[12]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\dZ/, "a time such as 2026-01-31T23:59:59Z")(value, where);
  const moment = new Date(String(value));
  if (Number.isNaN(moment.getTime()) || moment.toISOString() !== String(value).replace("Z", ".000Z")) {
    throw new Misfit(`${where} is ${String(value)}, which is no time`);
  }
};

const className: Check = (value, where) => {
  if (!isClassName(value)) throw new Misfit(`${where} is no name of ${CLASS_NAME}`);
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
const NUMBER = matching(/[1-9]\d{0,14}/, "a sample's number");
const PART = whole();
const SHARE = number({ least: 0, most: 1 });
const NATURAL = whole(1);
const DTYPE = oneOf("uint8", "float32");
const REPLAYS = ["own", "mentor", "auto"];
const STORED = { number: NATURAL, time, source: oneOf(...SOURCES), weight: number({ above: 0 }) };
const INPUT = { dtype: DTYPE, input: PART, mentor_logits: maybe(PART) };
const RANDOM = keys({ state: uint128, inc: uint128, has_uint32: whole(0, 1), uinteger: whole(0, 2 ** 32 - 1) });
const BOUNDS = each(["steps", "seconds", "samples", "joules", "watts"], () => number({ above: 0 }));
const ABOVE = number({ above: 0, below: FLOAT32_END });
const CURVES = each(KNOBS, curve);
const PLAN_FIELDS = {
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
};
const PLAN = keys(PLAN_FIELDS, { shift: NATURAL });
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

/** The largest value that a curve takes. */
export function highest(curve: Json): number {
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
  guesses: tableOf(NUMBER, whole()),
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
const ANSWERS = listOf(
  keys({ number: NATURAL, version: whole(), mentor_logits: PART, activations: tableOf(text, PART) }),
);
const ASKED = keys({
  waiting: listOf(NATURAL),
  left: tableOf(NUMBER, time),
  refused: tableOf(NUMBER, text),
  ...each(["sent", "sent_bytes", "answered", "tries"], () => whole()),
  ...each(["last", "service", "why"], () => text),
  not_before: number({ least: 0 }),
});
const PARTS = {
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
};
export const RECORD = keys(PARTS, {
  names: tableOf(text, className),
  lost_names: listOf(className),
  answers: ANSWERS,
  asked: ASKED,
});
