// The part of a manifest on stock graphs (format 2): a training step on flat vectors, for any ONNX Runtime.

import { BundleError, shown } from "../errors.js";
import { get, getWhole, isObject, strings, whole } from "./fields.js";
import { inputNames } from "./inputs.js";
import type { Json, JsonObject } from "../../json.js";
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

/** Of the whole manifest `raw`, which has it. Throws BundleError for graphs that have other inputs or outputs than this format. */
export function readStock(
  raw: JsonObject,
  probes: Iterable<string>,
  terms: readonly string[],
  dropout: boolean,
): Stock {
  const given = get(raw, "stock", "object");
  const state = get(given, "state", "object", "stock");
  const stock: Stock = {
    gradients: readGraph(given, "gradients", "stock"),
    optimizer: readGraph(given, "optimizer", "stock"),
    forward: readGraph(given, "forward", "stock"),
    state: get(state, "file", "text", "stock.state"),
    parameters: readParts(state, "parameters"),
    statistics: readParts(state, "statistics"),
    moments: getWhole(state, "moments", "stock.state", 0, 2),
  };
  requireSameNames(stock, raw);
  requirePorts(stock, probes, terms, dropout);
  for (const name of ["gradients", "optimizer", "forward"])
    requireSizes(stock, get(given, name, "object", "stock"), name);
  return stock;
}

function requireSameNames({ parameters, statistics }: Stock, raw: JsonObject): void {
  const names = [...parameters, ...statistics].map(({ name }) => name);
  const running = raw.has("running_statistics") ? strings(raw, "running_statistics") : [];
  const stated = new Set([...strings(raw, "trainable"), ...running]);
  const same =
    new Set(names).size === names.length && names.length === stated.size && names.every((one) => stated.has(one));
  if (same && parameters.length) return;
  throw new BundleError(
    "manifest.json: stock.state has other parameters or statistics than `trainable` and `running_statistics`: make the bundle again",
  );
}

function requirePorts(stock: Stock, probes: Iterable<string>, terms: readonly string[], dropout: boolean): void {
  const { gradients, optimizer, forward } = stock;
  const vectors = [...vectorsOf(stock).keys()];
  const statistics = vectors.filter((name) => name === "statistics");
  const stepped = vectors.filter((name) => name !== "statistics");
  const made = (names: readonly string[]): string[] => names.map((name) => `new_${name}`);
  const answers = ["logits", "embedding"];
  const seed = dropout && gradients.inputs.includes(SEED) ? [SEED] : [];
  const batch = ["parameters", ...statistics, ...inputNames(probes), ...seed];
  requireNames("stock.gradients.inputs", batch, gradients.inputs);
  const learnt = ["loss", ...terms, ...answers, "gradient", ...made(statistics)];
  requireNames("stock.gradients.outputs", learnt, gradients.outputs);
  requireNames("stock.optimizer.inputs", [...stepped, "gradient", "learning_rate", "step"], optimizer.inputs);
  requireNames("stock.optimizer.outputs", made(stepped), optimizer.outputs);
  requireNames("stock.forward.inputs", ["parameters", ...statistics, "input"], forward.inputs);
  requireNames("stock.forward.outputs", answers, forward.outputs);
}

/** Throws BundleError where a port of a vector has another shape than the vector's parts make. */
function requireSizes(stock: Stock, graph: JsonObject, name: string): void {
  const sizes = vectorsOf(stock).set("gradient", sizeOf(stock.parameters));
  for (const kind of ["inputs", "outputs"]) {
    for (const port of get(graph, kind, "list", `stock.${name}`)) {
      if (!isObject(port)) continue; // readGraph has refused it
      const which = String(port.get("name")).replace(/^new_/, "");
      const [size, shape] = [sizes.get(which), port.get("shape")];
      if (size === undefined || (Array.isArray(shape) && shape.length === 1 && shape[0] === BigInt(size))) continue;
      throw new BundleError(
        `manifest.json: stock.${name} says ${shown(which)} has the shape ${shown(shape)}, its parts make [${size}]: ` +
          "make the bundle again",
      );
    }
  }
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
