// Everything that learning has changed, as one value and as one file: a version of it is stored, and put back into a `Learner`.

import { sha256, joined, type Bytes } from "../bytes.js";
import { NotTensors, readTensors, writeTensors, type Tensor } from "../tensors/safetensors.js";
import type { RandomState } from "./random.js";
import type { State } from "./session.js";

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

/** A safetensors file: the vectors, and the rest in its metadata with a sha256 over all. */
export async function writeSnapshot({ bundle, step, learningRate, random, state }: Snapshot): Promise<Bytes> {
  const head = JSON.stringify({
    bundle,
    step,
    learning_rate: learningRate,
    taken: state.taken,
    random: { ...random, state: { state: String(random.state.state), inc: String(random.state.inc) } },
  });
  const vectors = [...state.vectors].sort(([one], [other]) => (one < other ? -1 : 1));
  const tensors = vectors.map(([name, data]): [string, Tensor] => [name, { dtype: "F32", shape: [data.length], data: Float32Array.from(data) }]);
  return writeTensors(tensors, [["snapshot", head], ["sha256", await sumOf(head, state.vectors)]]);
}

/** Throws SnapshotError. */
export async function readSnapshot(file: Uint8Array): Promise<Snapshot> {
  try {
    const { tensors, metadata } = readTensors(file);
    const head = metadata.get("snapshot") ?? "";
    const vectors = new Map<string, Float32Array>();
    for (const [name, { dtype, data }] of tensors) {
      if (dtype !== "F32") throw new SnapshotError(`${name} is ${dtype}, expected F32`);
      vectors.set(name, data as Float32Array);
    }
    if ((await sumOf(head, vectors)) !== metadata.get("sha256")) throw new SnapshotError("its content was altered");
    const { bundle, step, learning_rate, taken, random } = JSON.parse(head);
    const state = { state: BigInt(random.state.state), inc: BigInt(random.state.inc) };
    return { bundle, step, learningRate: learning_rate, random: { ...random, state }, state: { vectors, taken } };
  } catch (error) {
    if (error instanceof SnapshotError || error instanceof NotTensors || error instanceof SyntaxError || error instanceof TypeError) {
      throw new SnapshotError(`the snapshot cannot be read (${error.message}): restore another one, or reset`);
    }
    throw error;
  }
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
