// Checks of a record that somebody else wrote: each takes a value and where it stands, and throws Misfit for what is none.
//
// They are strict, so that every client says the same of a file: no other keys, whole numbers without a point. The Python program
// has the same in relocate/portable/checks.py.

import type { Json, JsonObject } from "../json.js";

export type Check = (value: Json, where: string) => void;

/** A value that no program of this format writes; one line. */
export class Misfit extends Error {
  override readonly name = "Misfit";
}

export const MAX_COUNT = 2 ** 53;

/** A whole number, written without a point. */
export function whole(least = 0, most = MAX_COUNT): Check {
  return (value, where) => {
    if (typeof value !== "bigint" || value < BigInt(least) || value > BigInt(most)) {
      throw misfit(value, where, `a whole number from ${least} to ${most}`);
    }
  };
}

export interface Range {
  readonly least?: number;
  readonly most?: number;
  /** Bounds that are not in it. */
  readonly above?: number;
  readonly below?: number;
}

/** A finite number. */
export function number({ least = -Infinity, most = Infinity, above = -Infinity, below = Infinity }: Range = {}): Check {
  return (value, where) => {
    const one = isNumber(value) ? Number(value) : Number.NaN;
    if (!(one >= least && one <= most && one > above && one < below))
      throw misfit(value, where, "a finite number in its range");
  };
}

/** Whether it is one that float64 holds, a whole one that it holds exactly. */
function isNumber(value: Json): boolean {
  if (typeof value === "bigint") return value >= -BigInt(MAX_COUNT) && value <= BigInt(MAX_COUNT);
  return typeof value === "number" && Number.isFinite(value);
}

export const text: Check = (value, where) => {
  if (typeof value !== "string") throw misfit(value, where, "a text");
};

export const flag: Check = (value, where) => {
  if (typeof value !== "boolean") throw misfit(value, where, "true or false");
};

/** A text that is `pattern` from end to end. */
export function matching(pattern: RegExp, what: string): Check {
  const all = new RegExp(`^(?:${pattern.source})$`);
  return (value, where) => {
    if (typeof value !== "string" || !all.test(value)) throw misfit(value, where, what);
  };
}

export function oneOf(...known: readonly Json[]): Check {
  return (value, where) => {
    if (!known.includes(value)) throw misfit(value, where, `one of ${known.join(", ")}`);
  };
}

/** Null, or what `check` takes. */
export function maybe(check: Check): Check {
  return (value, where) => {
    if (value !== null) check(value, where);
  };
}

export function listOf(check: Check, most = MAX_COUNT, least = 0): Check {
  return (value, where) => {
    if (!Array.isArray(value) || value.length < least || value.length > most) {
      throw misfit(value, where, `a list of ${least} to ${most}`);
    }
    value.forEach((one, place) => check(one, `${where}[${place}]`));
  };
}

export function pair(first: Check, second: Check): Check {
  return (value, where) => {
    if (!Array.isArray(value) || value.length !== 2) throw misfit(value, where, "a list of two");
    first(value[0] ?? null, `${where}[0]`);
    second(value[1] ?? null, `${where}[1]`);
  };
}

/** An object with all keys of `always`, and none besides but those of `sometimes`. */
export function keys(always: Readonly<Record<string, Check>>, sometimes: Readonly<Record<string, Check>> = {}): Check {
  const known = new Map(Object.entries({ ...always, ...sometimes }));
  return (value, where) => {
    const object = objectAt(value, where);
    const lacking = Object.keys(always).find((name) => !object.has(name));
    if (lacking !== undefined) throw new Misfit(`${where || "it"} lacks ${lacking}`);
    for (const [name, one] of object) {
      const check = known.get(name);
      if (check === undefined)
        throw new Misfit(`${where || "it"} has ${name.slice(0, 70)}, which this program does not know`);
      check(one, where ? `${where}.${name}` : name);
    }
  };
}

/** An object whose keys are `name` and whose values `check` takes. */
export function tableOf(name: Check, check: Check): Check {
  return (value, where) => {
    for (const [key, one] of objectAt(value, where)) {
      name(key, where);
      check(one, `${where}.${key.slice(0, 40)}`);
    }
  };
}

/** JSON whose numbers are finite. */
export const anything: Check = (value, where) => {
  if (value instanceof Map) for (const one of value.values()) anything(one, where);
  else if (Array.isArray(value)) for (const one of value) anything(one, where);
  else if ((typeof value === "number" || typeof value === "bigint") && !isNumber(value))
    throw misfit(value, where, "finite numbers");
};

export function objectAt(value: Json | undefined, where: string): JsonObject {
  if (value instanceof Map) return value;
  throw misfit(value ?? null, where, "an object");
}

function misfit(value: Json, where: string, expected: string): Misfit {
  const shown = value instanceof Map ? "an object" : Array.isArray(value) ? "a list" : String(value).slice(0, 70);
  return new Misfit(`${where || "it"} is ${shown}, expected ${expected}`);
}
