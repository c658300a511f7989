// manifest.json of a bundle, read into types: every field that is used is checked before it is used.

import { sha256, utf8, type Bytes } from "../../bytes.js";
import { BundleError, shown } from "../errors.js";
import { LARGEST, MAX_ELEMENTS, choice, get, getWhole, isObject, number, shapeOf, strings, whole } from "./fields.js";
import { inputNames, type Knobs } from "./inputs.js";
import { NotJson, parseJson, type Json, type JsonObject } from "../../json.js";
import { checkPath } from "../paths.js";
import {
  RATE_RANGE,
  readGraph,
  readKnobs,
  readOptimizerStep,
  readPreprocessing,
  type Graph,
  type OptimizerStep,
  type Preprocessing,
} from "./parts.js";
import { readMentor, type MentorSaid } from "./mentor.js";
import { readSpare, type Names } from "./spare.js";
import { readStock, requireNames, type Stock } from "./stock.js";

const FORMATS = ["mentee-bundle/1", "mentee-bundle/2"]; // the second has stock graphs
export const GRAPH_SUFFIX = ".onnx"; // a runtime goes by it: what ends otherwise may be of a kind that nothing here looked into

/** A promise of the manifest about one file. */
export interface FileEntry {
  readonly sha256: string;
  readonly bytes: number;
}

/** The graphs of ONNX Runtime Training; `weights`: the file with every parameter, where the checkpoint is nominal and has none. */
export interface OrtTraining {
  readonly training: Graph;
  readonly evaluation: Graph;
  readonly optimizer: Graph;
  readonly checkpoint: string;
  readonly weights: string | null;
}

/** The fields a device uses. `probes` maps a probe's name to the shape of one sample's mentor activation, `accuracy` a set to the
 * base's share of right answers; `terms` are the graphs' outputs that the loss is made of. */
export interface Manifest {
  readonly id: string;
  readonly files: ReadonlyMap<string, FileEntry>;
  readonly classes: readonly string[]; // with the owner's names for spare ones
  readonly spare: readonly string[]; // the last of the bundle's classes, as it calls them
  readonly names: Names;
  readonly preprocessing: Preprocessing;
  readonly inference: Graph;
  readonly ortTraining: OrtTraining | null; // one of the two at least
  readonly stock: Stock | null;
  readonly supervision: string;
  readonly golden: string;
  readonly mentor: MentorSaid | null; // whose answers the pack has
  readonly probes: ReadonlyMap<string, readonly number[]>;
  readonly knobs: Knobs;
  readonly terms: readonly string[];
  readonly learningRate: number;
  readonly optimizerStep: OptimizerStep;
  readonly parameters: number;
  readonly accuracy: ReadonlyMap<string, number>;
  readonly batchNorm: "frozen" | "batch" | "affine_only";
  readonly smallestMap: number; // values a channel of one sample where BatchNorm uses the batch's statistics; 0 for nowhere
  readonly dropout: "off" | "on";
  readonly head: string; // module path of the classifier
  readonly activationBytes: number; // that a training pass keeps for each sample; 0: not stated
  readonly expected: ReadonlyMap<string, number>; // outputs of the eval graph on the first replay samples
}

/** manifest.json's top-level object, of a format this program reads. Throws BundleError. */
export function parseManifestJson(text: Bytes): JsonObject {
  let raw: Json;
  try {
    raw = parseJson(utf8(text));
  } catch (error) {
    if (!(error instanceof NotJson || error instanceof TypeError)) throw error;
    throw new BundleError(`manifest.json is not JSON (${error.message}): fetch the bundle again`);
  }
  if (!isObject(raw)) throw new BundleError("manifest.json holds no object: fetch the bundle again");
  const format = raw.get("format");
  if (typeof format !== "string" || !FORMATS.includes(format)) {
    throw new BundleError(
      `manifest.json has format ${shown(format)}, this program reads ${FORMATS.join(" and ")}: update one`,
    );
  }
  return raw;
}

/** Throws BundleError unless the id is the sha256 of `text` with 64 zeros in its place: no word was changed. */
export async function checkId(text: Bytes, raw: JsonObject): Promise<void> {
  const stated = get(raw, "id", "text");
  const around = new TextDecoder("latin1").decode(text).split(stated); // latin1: one character a byte
  if (!/^[0-9a-f]{64}$/.test(stated) || around.length !== 2) {
    throw new BundleError(`manifest.json: id ${shown(stated)} is not 64 hex digits that occur once: fetch it again`);
  }
  const zeroed = new Uint8Array(text);
  const start = around[0]?.length ?? 0;
  zeroed.fill("0".charCodeAt(0), start, start + stated.length);
  const digest = await sha256(zeroed);
  if (digest !== stated) {
    throw new BundleError(
      `manifest.json says id ${stated.slice(0, 12)}…, its content gives ${digest.slice(0, 12)}…: altered, fetch the bundle again`,
    );
  }
}

/** `files` as promised, each path relative, with `/`, inside the folder. Throws BundleError. */
export function parseFiles(raw: JsonObject): Map<string, FileEntry> {
  const entries = new Map<string, FileEntry>();
  for (const [path, entry] of get(raw, "files", "object")) {
    checkPath(path);
    const where = `files[${shown(path)}]`;
    if (!isObject(entry)) throw new BundleError(`manifest.json: ${where} is not an object with sha256 and bytes`);
    const digest = get(entry, "sha256", "text", where);
    if (!/^[0-9a-f]{64}$/.test(digest)) {
      throw new BundleError(
        `manifest.json: ${where}.sha256 is ${shown(digest)}, expected 64 hex digits: fetch it again`,
      );
    }
    entries.set(path, { sha256: digest, bytes: getWhole(entry, "bytes", where) });
  }
  return entries;
}

/** The whole manifest, checked for what this program relies on. Throws BundleError naming the field. */
export function parseManifest(raw: JsonObject): Manifest {
  const classes = strings(raw, "classes");
  if (classes.length < 2 || new Set(classes).size !== classes.length) {
    throw new BundleError(
      `manifest.json: classes must be at least two different names, got ${shown(classes.slice(0, 5))}`,
    );
  }
  const graphs = get(raw, "graphs", "object");
  const loss = get(raw, "loss", "object");
  const optimizer = get(raw, "optimizer", "object");
  const probes = readProbes(raw);
  const terms = readTerms(loss, probes.keys());
  const dropout = choice(raw, "dropout", ["off", "on"]);
  const manifest: Manifest = {
    id: get(raw, "id", "text"),
    files: parseFiles(raw),
    classes,
    spare: readSpare(raw, classes),
    names: {},
    preprocessing: readPreprocessing(get(raw, "preprocessing", "object")),
    inference: readGraph(graphs, "inference"),
    ortTraining: readOrtTraining(raw, graphs),
    stock: raw.has("stock") ? readStock(raw, probes.keys(), terms, dropout === "on") : null,
    supervision: readPack(raw, "supervision"),
    golden: readPack(raw, "golden"),
    mentor: readMentor(raw),
    probes,
    knobs: readKnobs(loss),
    terms,
    learningRate: number(optimizer, "learning_rate", "optimizer", ...RATE_RANGE),
    optimizerStep: readOptimizerStep(optimizer),
    parameters: getWhole(get(raw, "parameters", "object"), "count", "parameters"),
    accuracy: readAccuracy(get(raw, "base", "object")),
    batchNorm: choice(raw, "batch_norm", ["frozen", "batch", "affine_only"]),
    smallestMap: whole(raw.get("batch_norm_smallest_map") ?? 0n, "batch_norm_smallest_map", 0, MAX_ELEMENTS),
    dropout,
    head: get(get(raw, "embedding", "object"), "layer", "text", "embedding"),
    activationBytes: readActivationBytes(raw.get("costs")),
    expected: readExpected(raw.get("expected")),
  };
  if ((manifest.stock !== null) !== (raw.get("format") === FORMATS[1])) {
    throw new BundleError("manifest.json: stock graphs are of format 2, and format 2 has them: make the bundle again");
  }
  checkReferences(manifest);
  checkVariants(raw, manifest.files);
  return manifest;
}

/** All of it or, beside stock graphs, none. */
function readOrtTraining(raw: JsonObject, graphs: JsonObject): OrtTraining | null {
  const there = raw.has("checkpoint") || ["training", "eval", "optimizer"].some((name) => graphs.has(name));
  if (!there && raw.has("stock")) return null;
  const checkpoint = get(raw, "checkpoint", "object");
  return {
    training: readGraph(graphs, "training"),
    evaluation: readGraph(graphs, "eval"),
    optimizer: readGraph(graphs, "optimizer"),
    checkpoint: get(checkpoint, "file", "text", "checkpoint"),
    weights: checkpoint.has("parameters") ? get(checkpoint, "parameters", "text", "checkpoint") : null,
  };
}

function readProbes(raw: JsonObject): Map<string, number[]> {
  const probes = new Map<string, number[]>();
  for (const [place, probe] of get(raw, "probes", "list").entries()) {
    const where = `probes[${place}]`;
    if (!isObject(probe)) throw new BundleError(`manifest.json: ${where} is not an object`);
    probes.set(get(probe, "name", "text", where), shapeOf(probe, "shape", where));
  }
  return probes;
}

/** Manifests made by hand for a test may not say how many samples. */
function readPack(raw: JsonObject, name: string): string {
  const pack = get(raw, name, "object");
  if (pack.has("samples")) getWhole(pack, "samples", name);
  return get(pack, "file", "text", name);
}

function readAccuracy(base: JsonObject): Map<string, number> {
  get(base, "golden", "object", "base");
  return new Map(
    Array.from(base.keys(), (name) => [
      name,
      number(get(base, name, "object", "base"), "accuracy", `base.${name}`, 0, 1),
    ]),
  );
}

/** Manifests older than the choice of a loss have neither name: theirs is RMSE and KL. */
function readTerms(loss: JsonObject, probes: Iterable<string>): string[] {
  const probe = loss.has("probe") ? get(loss, "probe", "text", "loss") : "rmse";
  const softmax = loss.has("softmax") ? get(loss, "softmax", "text", "loss") : "kl";
  return ["ce", ...Array.from(probes, (name) => `${probe}_${name}`), softmax];
}

function readActivationBytes(costs: Json | undefined): number {
  if (costs === undefined || costs === null) return 0;
  if (!isObject(costs)) throw new BundleError("manifest.json: costs is no object");
  return getWhole(costs, "activation_bytes", "costs") / Math.max(1, getWhole(costs, "batch", "costs"));
}

function readExpected(raw: Json | undefined): Map<string, number> {
  if (raw === undefined || raw === null) return new Map();
  if (!isObject(raw)) throw new BundleError("manifest.json: expected is no object");
  return new Map(Array.from(raw.keys(), (name) => [name, number(raw, name, "expected", -LARGEST)]));
}

function checkReferences(manifest: Manifest): void {
  const { ortTraining: ort, stock, supervision, golden } = manifest;
  const graphs = [manifest.inference];
  const files = [supervision, golden];
  if (ort !== null) {
    graphs.push(ort.training, ort.evaluation, ort.optimizer);
    files.push(ort.checkpoint, ...(ort.weights === null ? [] : [ort.weights]));
    const inputs = inputNames(manifest.probes.keys());
    const outputs = ["loss", ...manifest.terms, "logits", "embedding"];
    for (const [name, graph] of [
      ["training", ort.training],
      ["eval", ort.evaluation],
    ] as const) {
      requireNames(`graphs.${name}.inputs`, inputs, graph.inputs);
      requireNames(`graphs.${name}.outputs`, outputs, graph.outputs);
    }
  }
  if (stock !== null) {
    graphs.push(stock.gradients, stock.optimizer, stock.forward);
    files.push(stock.state);
  }
  for (const file of [...graphs.map((graph) => graph.file), ...files]) {
    if (!manifest.files.has(file)) {
      throw new BundleError(
        `manifest.json refers to ${shown(file)}, which its \`files\` does not list: make the bundle again`,
      );
    }
  }
  for (const { file } of graphs) {
    if (!file.endsWith(GRAPH_SUFFIX)) {
      throw new BundleError(`manifest.json: the graph ${shown(file)} does not end in ${GRAPH_SUFFIX}: refused`);
    }
  }
}

/** This program uses none of them; who reads them elsewhere goes by the same manifest. */
function checkVariants(raw: JsonObject, files: ReadonlyMap<string, FileEntry>): void {
  const variants = raw.has("variants") ? get(raw, "variants", "object") : new Map<string, Json>();
  for (const name of variants.keys()) {
    const where = `variants.${name}`;
    const variant = get(variants, name, "object", "variants");
    if (!variant.has("file")) {
      get(variant, "omitted", "text", where);
      continue;
    }
    const file = get(variant, "file", "text", where);
    if (!files.has(file) || !file.endsWith(GRAPH_SUFFIX)) {
      throw new BundleError(
        `manifest.json: ${where}.file is ${shown(file)}, which its \`files\` does not list or is no ${GRAPH_SUFFIX}: ` +
          "make the bundle again",
      );
    }
  }
}
