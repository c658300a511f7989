// Checks every ONNX graph of a bundle before a runtime opens it: which files it points to, and which operators it has.
//
// A runtime follows a graph's external data wherever it points, and runs its operators for as long as they ask. So a graph may
// point only to files that the manifest lists, and has no loops, no functions and no operators but ONNX's own and those that ONNX
// Runtime Training writes for gradients and optimizers. A stock graph has ONNX's own alone, of no newer opset or IR than the
// format's. A walk over the file's fields says it. The numbers are those of onnx.proto.

import { BundleError, shown } from "./errors.js";
import type { FileEntry } from "./manifest/manifest.js";
import { checkPath } from "./paths.js";
import { MESSAGE, NotAMessage, VARINT, fields, text, type Field } from "./wire.js";

type Kind = "model" | "graph" | "node" | "attribute" | "tensor" | "sparse";
type Files = ReadonlyMap<string, FileEntry>;

// by message: those of its fields that are messages to look into
const INSIDE: Readonly<Record<Kind, Readonly<Record<number, Kind>>>> = {
  model: { 7: "graph" },
  graph: { 1: "node", 5: "tensor", 15: "sparse" },
  node: { 5: "attribute" },
  attribute: { 5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse" },
  sparse: { 1: "tensor", 2: "tensor" },
  tensor: {},
};
const NOT_HERE: Partial<Record<Kind, Readonly<Record<number, string>>>> = {
  model: { 20: "training information", 25: "functions of its own" },
};
const ONCE: Partial<Record<Kind, readonly number[]>> = {
  model: [7],
  node: [4, 7, 8],
  attribute: [5, 6],
  tensor: [2, 14],
};
const WANTED: Partial<Record<Kind, readonly number[]>> = { model: [1, 7, 8], node: [4, 7], tensor: [13, 14] };
const IR_VERSION = 1; // of a model
const GRAPH = 7;
const OPSET = 8;
const OP_TYPE = 4; // of a node
const DOMAIN = 7;
const EXTERNAL_DATA = 13; // of a tensor
const DATA_LOCATION = 14;
const EXTERNAL = 1;

const MOST_FIELDS = 2_000_000; // of one graph; a large training graph has 50,000
const DEEPEST = 32; // messages within one another; an optimizer's If has 8

const OWN = ["", "ai.onnx"];
const WITHOUT_END = ["Loop", "Scan", "SequenceMap"];
const NEWEST_IR = 10; // of stock graphs
const NEWEST_OPSET = 18;
const RUNTIME = "com.microsoft";
const GRADIENT = /^(?!PythonOp|ATen|YieldOp)[A-Z]\w*Grad(_13|V2)?$/;
const WRITTEN_FOR_TRAINING = new Set(
  `AdamWOptimizer SGDOptimizerV2 InPlaceAccumulator InPlaceAccumulatorV2 InplaceClipGradNorm Scale ConcatTraining SplitTraining
  ReduceSumTraining BatchNormInternal SoftmaxCrossEntropyLossInternal BroadcastGradientArgs BitmaskDropout BiasDropout
  BitmaskBiasDropout LSTMTraining GRUTraining Gelu FastGelu QuickGelu BiasGelu FusedMatMul PassThrough ZeroGradient
  DynamicQuantizeMatMul QuantizeLinear DequantizeLinear MatMulIntegerToFloat ReduceAllL2 IsAllFinite`.split(/\s+/),
);

/** Checks one graph, the bytes of the bundle's file `name`; `stock`: one of the stock graphs. Throws BundleError. */
export function checkGraph(data: Uint8Array, name: string, files: Files, stock = false): void {
  try {
    for (const [kind, given] of messages(data)) {
      if (kind === "node") checkNode(data, given, name, stock);
      else if (kind === "tensor") checkTensor(data, given, name, files);
      else if (kind === "model") checkModel(data, given, name, stock);
    }
  } catch (error) {
    if (!(error instanceof NotAMessage)) throw error;
    throw new BundleError(`${shown(name)} is not an ONNX graph (${error.message}): make the bundle again`);
  }
}

/** Every message that can hold a node or a tensor, with those of its fields that are wanted. */
function* messages(data: Uint8Array): Generator<[Kind, Field[]]> {
  const waiting: [Kind, number, number, number][] = [["model", 0, data.length, 0]];
  let seen = 0;
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const [kind, start, end, depth] = next;
    if (depth > DEEPEST) throw new NotAMessage(`messages lie more than ${DEEPEST} deep in each other`);
    const given: Field[] = [];
    const counts = new Map<number, number>();
    for (const one of fields(data, start, end)) {
      if (++seen > MOST_FIELDS) throw new NotAMessage(`more than ${MOST_FIELDS} fields`);
      counts.set(one.number, (counts.get(one.number) ?? 0) + 1);
      if (WANTED[kind]?.includes(one.number)) given.push(one);
      const inner = INSIDE[kind][one.number];
      if (inner === undefined) continue;
      if (one.kind !== MESSAGE) throw new NotAMessage(`field ${one.number} of a ${kind} is no message`);
      waiting.push([inner, one.start, one.end, depth + 1]);
    }
    checkNumbers(kind, counts);
    yield [kind, given];
  }
}

function checkNumbers(kind: Kind, counts: ReadonlyMap<number, number>): void {
  for (const number of ONCE[kind] ?? []) {
    if ((counts.get(number) ?? 0) > 1) throw new NotAMessage(`field ${number} of a ${kind} twice`); // which one is read?
  }
  for (const [number, what] of Object.entries(NOT_HERE[kind] ?? {})) {
    if (counts.has(Number(number))) throw new NotAMessage(`it has ${what}, which this format has not`);
  }
}

function checkModel(data: Uint8Array, given: readonly Field[], name: string, stock: boolean): void {
  if (!given.some(({ number }) => number === GRAPH)) throw new NotAMessage("no graph in it");
  for (const { number, kind, start, end } of stock ? given : []) {
    if (number === IR_VERSION && kind === VARINT) requireOldEnough(start, NEWEST_IR, "IR version", name);
    if (number !== OPSET || kind !== MESSAGE) continue;
    const parts = new Map([...fields(data, start, end)].map((part) => [part.number, part]));
    const [domain, version] = [parts.get(1), parts.get(2)];
    const own = domain === undefined || OWN.includes(text(data, domain));
    if (own && version !== undefined) requireOldEnough(version.start, NEWEST_OPSET, "opset", name);
  }
}

function requireOldEnough(version: number, newest: number, what: string, name: string): void {
  if (version <= newest) return;
  throw new BundleError(
    `${shown(name)} has ${what} ${version}, a stock graph has at most ${newest}: make the bundle again with mentee-export`,
  );
}

function checkNode(data: Uint8Array, given: readonly Field[], name: string, stock: boolean): void {
  const words = new Map(given.map((one) => [one.number, text(data, one)]));
  const [op, domain] = [words.get(OP_TYPE) ?? "", words.get(DOMAIN) ?? ""];
  const endless = OWN.includes(domain) && WITHOUT_END.includes(op);
  const written = domain === RUNTIME && (WRITTEN_FOR_TRAINING.has(op) || GRADIENT.test(op));
  const known = OWN.includes(domain) || (written && !stock);
  if (known && !endless) return;
  const where = stock ? "for a stock graph" : "of this format";
  const why = endless ? "may run without end" : `is none that an exporter ${where} writes`;
  throw new BundleError(
    `${shown(name)} has an operator ${shown(domain ? `${domain}.${op}` : op)}, which ${why}: refused`,
  );
}

function checkTensor(data: Uint8Array, given: readonly Field[], name: string, files: Files): void {
  let outside = false;
  const entries = new Map<string, string>();
  for (const { number, kind, start, end } of given) {
    if (number === DATA_LOCATION && kind === VARINT && start === EXTERNAL) outside = true;
    if (number !== EXTERNAL_DATA || kind !== MESSAGE) continue;
    const words = new Map<number, string>();
    for (const part of fields(data, start, end)) if (part.number <= 2) words.set(part.number, text(data, part));
    const key = words.get(1) ?? "";
    if (entries.has(key)) throw new NotAMessage("a weight's place said twice");
    entries.set(key, words.get(2) ?? "");
  }
  if (outside || entries.size) checkPlace(entries, name, files);
}

function checkPlace(entries: ReadonlyMap<string, string>, name: string, files: Files): void {
  const location = entries.get("location") ?? "";
  const file = name.slice(0, name.lastIndexOf("/") + 1) + location;
  const entry = isPath(location) ? files.get(file) : undefined;
  if (entry === undefined) {
    throw new BundleError(
      `${shown(name)} points to ${shown(location)} for its weights, which is no file that manifest.json lists: refused`,
    );
  }
  const [offset, length] = [whole(entries, "offset", name), whole(entries, "length", name)];
  if (offset + length > entry.bytes) {
    throw new BundleError(
      `${shown(name)} points to bytes ${offset} to ${offset + length} of ${shown(file)}, which has ${entry.bytes}: refused`,
    );
  }
}

function isPath(location: string): boolean {
  try {
    checkPath(location);
    return true;
  } catch {
    return false;
  }
}

function whole(entries: ReadonlyMap<string, string>, key: string, name: string): number {
  const given = entries.get(key) ?? "0";
  if (!/^[0-9]{1,18}$/.test(given)) {
    throw new BundleError(`${shown(name)} points to weights at ${key} ${shown(given, 20)}, expected a number: refused`);
  }
  return Number(given);
}
