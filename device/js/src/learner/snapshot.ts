// Everything that learning has changed, as one value and as one file: a version of it is stored, and put back into a `Learner`.

import { sha256, joined, type Bytes } from "../bytes.js";
import { NotTensors, readTensors, writeTensors, type Tensor } from "../tensors/safetensors.js";
import type { Part } from "../bundle/manifest/stock.js";
import type { RandomState } from "./random.js";
import type { State } from "./session.js";

const FORMAT = "mentee-checkpoint";
const VERSION = 1;

/** `step` since the base of `bundle`, the optimizer's `learningRate`, the random state, parameters, moments and statistics. */
export interface Snapshot {
  readonly bundle: string;
  readonly step: number;
  readonly learningRate: number;
  readonly random: RandomState;
  readonly state: State;
}

/** Bytes that are no snapshot, or were altered; one line. */
export class SnapshotError extends Error {
  override readonly name = "SnapshotError";
}

/** A checkpoint of stock graphs as the Python program writes it (`state` in the metadata of a safetensors file), and beside it in
 * `snapshot` the rest, with a sha256 over all. */
export async function writeSnapshot({ bundle, step, learningRate, random, state }: Snapshot): Promise<Bytes> {
  const head = JSON.stringify({
    bundle,
    step,
    learning_rate: learningRate,
    random: { ...random, state: { state: String(random.state.state), inc: String(random.state.inc) } },
  });
  const about = stateJson(state);
  const tensors = Array.from(state.vectors, ([name, data]): [string, Tensor] => {
    return [name, { dtype: "F32", shape: [data.length], data: Float32Array.from(data) }];
  });
  return writeTensors(tensors, [
    ["state", about],
    ["snapshot", head],
    ["sha256", await sumOf(about + head, state.vectors)],
  ]);
}

/** Throws SnapshotError. */
export async function readSnapshot(file: Uint8Array): Promise<Snapshot> {
  return readable(async () => {
    const { metadata } = readTensors(file);
    const state = stateOf(file);
    const head = metadata.get("snapshot") ?? "";
    if ((await sumOf((metadata.get("state") ?? "") + head, state.vectors)) !== metadata.get("sha256")) {
      throw new SnapshotError("its content was altered");
    }
    const { bundle, step, learning_rate, random } = JSON.parse(head);
    const numbers = { state: BigInt(random.state.state), inc: BigInt(random.state.inc) };
    return { bundle, step, learningRate: learning_rate, random: { ...random, state: numbers }, state };
  });
}

/** Parameters, moments, statistics and steps of a checkpoint that any client wrote. Throws SnapshotError. */
export async function readCheckpoint(file: Uint8Array): Promise<State> {
  return readable(async () => stateOf(file));
}

async function readable<T>(read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (
      error instanceof SnapshotError ||
      error instanceof NotTensors ||
      error instanceof SyntaxError ||
      error instanceof TypeError
    ) {
      throw new SnapshotError(`the snapshot cannot be read (${error.message}): restore another one, or reset`);
    }
    throw error;
  }
}

function stateJson({ parameters, statistics, taken }: State): string {
  const rows = (parts: readonly Part[]): unknown[] => parts.map(({ name, offset, shape }) => [name, offset, shape]);
  return JSON.stringify({
    format: FORMAT,
    parameters: rows(parameters),
    statistics: rows(statistics),
    step: taken,
    version: VERSION,
  });
}

function stateOf(file: Uint8Array): State {
  const { tensors, metadata } = readTensors(file);
  const { format, version, step, parameters, statistics } = JSON.parse(metadata.get("state") ?? "");
  if (format !== FORMAT || version !== VERSION)
    throw new SnapshotError(`it is ${format} ${version}, expected ${FORMAT} ${VERSION}`);
  const vectors = new Map<string, Float32Array>();
  for (const [name, { dtype, data }] of tensors) {
    if (dtype !== "F32") throw new SnapshotError(`${name} is ${dtype}, expected F32`);
    vectors.set(name, data as Float32Array);
  }
  const parts = (rows: [string, number, number[]][]): Part[] =>
    rows.map(([name, offset, shape]) => ({ name, offset, shape }));
  return { vectors, parameters: parts(parameters), statistics: parts(statistics), taken: step };
}

/** SQLite and IndexedDB notice a torn page, but not a flipped bit. */
async function sumOf(head: string, vectors: ReadonlyMap<string, Float32Array>): Promise<string> {
  const sorted = [...vectors].sort(([one], [other]) => (one < other ? -1 : 1));
  const parts = sorted.flatMap(([name, data]) => [
    new TextEncoder().encode(`\n${name} ${data.length}\n`),
    new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  ]);
  return sha256(joined([new TextEncoder().encode(head), ...parts]));
}
