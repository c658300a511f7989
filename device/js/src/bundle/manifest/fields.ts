// Fields of manifest.json, each read as the type that it must have. All of these throw BundleError with the field's name.

import { BundleError, shown } from "../errors.js";
import type { Json, JsonObject } from "../../json.js";

export const LARGEST = 3e38; // of float32, which everything becomes that a graph is fed
export const MAX_ELEMENTS = 2 ** 24; // of one sample's tensor: what a manifest may make a phone allocate for it
const MAX_AXES = 16; // of one sample's tensor
const MAX_COUNT = 2 ** 53; // what JSON's numbers are exact to

interface Kinds {
  text: string;
  list: Json[];
  object: JsonObject;
}

/** The field `key` of `raw`, which must be there and of that kind. */
export function get<K extends keyof Kinds>(raw: JsonObject, key: string, kind: K, where = ""): Kinds[K] {
  const value = required(raw, key, where);
  if (kindOf(value) !== kind) {
    throw new BundleError(`manifest.json: ${named(key, where)} is a ${kindOf(value)}, expected a ${kind}`);
  }
  return value as Kinds[K];
}

/** The whole number at `key`, which must be there. */
export function getWhole(raw: JsonObject, key: string, where = "", least = 0, most = MAX_COUNT): number {
  return whole(required(raw, key, where), named(key, where), least, most);
}

function required(raw: JsonObject, key: string, where: string): Json {
  const value = raw.get(key);
  if (value === undefined) {
    throw new BundleError(
      `manifest.json lacks ${named(key, where)}: it was not made by a program of this format, fetch it again`,
    );
  }
  return value;
}

function named(key: string, where: string): string {
  return where ? `${where}.${key}` : key;
}

export function isObject(value: Json | undefined): value is JsonObject {
  return value instanceof Map;
}

function kindOf(value: Json): string {
  if (typeof value === "string") return "text";
  if (Array.isArray(value)) return "list";
  if (isObject(value)) return "object";
  if (typeof value === "bigint") return "whole number";
  return value === null ? "null" : typeof value;
}

export function number(raw: JsonObject, key: string, where: string, least = 0, most = LARGEST): number {
  const value = raw.get(key);
  if (!fitsFloat32(value) || Number(value) < least || Number(value) > most) {
    throw new BundleError(
      `manifest.json: ${where}.${key} is ${shown(value)}, expected a number from ${least} to ${most}`,
    );
  }
  return Number(value);
}

function fitsFloat32(value: Json | undefined): value is number | bigint {
  if (typeof value !== "number" && typeof value !== "bigint") return false;
  return Math.abs(Number(value)) <= LARGEST; // false for NaN as well
}

export function numbers(raw: JsonObject, key: string, where: string): number[] {
  const values = get(raw, key, "list", where);
  if (!values.every(fitsFloat32)) {
    throw new BundleError(`manifest.json: ${where}.${key} must be a list of float32 numbers, got ${shown(values)}`);
  }
  return values.map(Number);
}

export function strings(raw: JsonObject, key: string): string[] {
  const values = get(raw, key, "list");
  if (!values.every((value) => typeof value === "string")) {
    throw new BundleError(`manifest.json: ${key} must be a list of texts`);
  }
  return values;
}

export function shapeOf(raw: JsonObject, key: string, where: string): number[] {
  const sizes = get(raw, key, "list", where).map((size) => whole(size, `${where}.${key}`));
  const elements = sizes.reduce((product, size) => product * size, 1);
  if (sizes.length > MAX_AXES || !(elements > 0 && elements <= MAX_ELEMENTS)) {
    throw new BundleError(
      `manifest.json: ${where}.${key} is ${shown(sizes)}, expected 1 to ${MAX_ELEMENTS} numbers on at most ${MAX_AXES} axes`,
    );
  }
  return sizes;
}

/** The first of `known` where the manifest has no such key. */
export function choice<T extends string>(raw: JsonObject, key: string, known: readonly [T, ...T[]]): T {
  const value = raw.get(key) ?? (raw.has(key) ? null : known[0]);
  const found = known.find((one) => one === value);
  if (found === undefined) {
    throw new BundleError(
      `manifest.json: ${key} is ${shown(value)}, this program knows ${known.join(", ")}: update the program`,
    );
  }
  return found;
}

export function whole(value: Json | undefined, where: string, least = 0, most = MAX_COUNT): number {
  if (typeof value !== "bigint" || value < least || value > most) {
    const expected = most === MAX_COUNT ? `a whole number of at least ${least}` : `${least} to ${most}`;
    throw new BundleError(`manifest.json: ${where} is ${shown(value)}, expected ${expected}`);
  }
  return Number(value);
}
