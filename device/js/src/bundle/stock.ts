// The part of a manifest on stock graphs (format 2): a training step on flat vectors, for any ONNX Runtime.

import { BundleError, shown } from "./errors.js";
import { get, getWhole, isObject, whole } from "./fields.js";
import { inputNames } from "./inputs.js";
import type { Json, JsonObject } from "../json.js";
import { readGraph, type Graph } from "./parts.js";

const MOST_PARTS = 100_000;
const MOST_AXES = 8;
const MOST_NUMBERS = 2 ** 28; // of a flat vector: 1 GB
export const SEED = "seed"; // of Dropout's masks

/** Where a parameter lies in a flat vector; `offset` counts numbers. */
export interface Part {
  readonly name: string;
  readonly offset: number;
  readonly shape: readonly number[];
}

/** `gradients`, `optimizer` and `forward` on the vectors `parameters` [P], `moment1`, `moment2` [P] and `statistics` [S]. */
export interface Stock {
  readonly gradients: Graph;
  readonly optimizer: Graph;
  readonly forward: Graph;
  readonly state: string; // the file
  readonly parameters: readonly Part[];
  readonly statistics: readonly Part[];
  readonly moments: number; // vectors of moments
}

/** Numbers of the vector that has these parts. */
export function sizeOf(parts: readonly Part[]): number {
  return parts.reduce((all, part) => all + product(part.shape), 0);
}

/** The vectors of the state by name, with their sizes. */
export function vectorsOf(stock: Stock): Map<string, number> {
  const P = sizeOf(stock.parameters);
  const vectors = new Map([["parameters", P]]);
  for (let number = 1; number <= stock.moments; number++) vectors.set(`moment${number}`, P);
  if (stock.statistics.length) vectors.set("statistics", sizeOf(stock.statistics));
  return vectors;
}

/** Throws BundleError for graphs that have other inputs or outputs than this format. */
export function readStock(
  raw: JsonObject,
  probes: Iterable<string>,
  terms: readonly string[],
  dropout: boolean,
): Stock {
  const state = get(raw, "state", "object", "stock");
  const stock: Stock = {
    gradients: readGraph(raw, "gradients", "stock"),
    optimizer: readGraph(raw, "optimizer", "stock"),
    forward: readGraph(raw, "forward", "stock"),
    state: get(state, "file", "text", "stock.state"),
    parameters: readParts(state, "parameters"),
    statistics: readParts(state, "statistics"),
    moments: getWhole(state, "moments", "stock.state", 0, 2),
  };
  const vectors = [...vectorsOf(stock).keys()];
  const statistics = vectors.filter((name) => name === "statistics");
  const stepped = vectors.filter((name) => name !== "statistics");
  const made = (names: readonly string[]): string[] => names.map((name) => `new_${name}`);
  const answers = ["logits", "embedding"];
  const seed = dropout ? [SEED] : [];
  requireNames(
    "stock.gradients.inputs",
    ["parameters", ...statistics, ...inputNames(probes), ...seed],
    stock.gradients.inputs,
  );
  requireNames(
    "stock.gradients.outputs",
    ["loss", ...terms, ...answers, "gradient", ...made(statistics)],
    stock.gradients.outputs,
  );
  requireNames("stock.optimizer.inputs", [...stepped, "gradient", "learning_rate", "step"], stock.optimizer.inputs);
  requireNames("stock.optimizer.outputs", made(stepped), stock.optimizer.outputs);
  requireNames("stock.forward.inputs", ["parameters", ...statistics, "input"], stock.forward.inputs);
  requireNames("stock.forward.outputs", answers, stock.forward.outputs);
  return stock;
}

/** Throws BundleError unless `given` are `expected`, in any order, each once. */
export function requireNames(where: string, expected: Iterable<string>, given: readonly string[]): void {
  const [wanted, there] = [new Set(expected), new Set(given)];
  const different = [...[...wanted].filter((name) => !there.has(name)), ...given.filter((name) => !wanted.has(name))];
  if (different.length || given.length !== wanted.size) {
    const what = different.length ? shown(different.sort(), 200) : "a name twice";
    throw new BundleError(`manifest.json: ${where} differ from what this format has: ${what}`);
  }
}

function readParts(state: JsonObject, vector: string): Part[] {
  const where = `stock.state.${vector}`;
  const parts = get(state, vector, "list", "stock.state");
  if (parts.length > MOST_PARTS)
    throw new BundleError(`manifest.json: ${where} has ${parts.length} parts, at most ${MOST_PARTS}`);
  let at = 0;
  return parts.map((raw) => {
    const part = readPart(raw, where);
    if (part.offset !== at) {
      throw new BundleError(`manifest.json: ${where} says ${shown(part.name)} is at ${part.offset}, expected ${at}`);
    }
    at += product(part.shape);
    if (!(at <= MOST_NUMBERS))
      throw new BundleError(`manifest.json: ${where} has more than ${MOST_NUMBERS} numbers: refused`);
    return part;
  });
}

function readPart(raw: Json, where: string): Part {
  if (!isObject(raw)) throw new BundleError(`manifest.json: ${where} must be a list of objects`);
  const sizes = get(raw, "shape", "list", where);
  if (sizes.length > MOST_AXES)
    throw new BundleError(`manifest.json: ${where} has ${sizes.length} axes, at most ${MOST_AXES}`);
  const shape = sizes.map((size) => whole(size, `${where}.shape`, 1));
  return { name: get(raw, "name", "text", where), offset: getWhole(raw, "offset", where), shape };
}

function product(shape: readonly number[]): number {
  return shape.reduce((all, size) => all * size, 1);
}
