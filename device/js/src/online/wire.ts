// Requests to the mentor's service and its answers, byte by byte (docs/serve.md). Axes: N samples, K classes.

import { joined, type Bytes } from "../bytes.js";
import { activationInput } from "../bundle/manifest/inputs.js";
import type { Manifest } from "../bundle/manifest/manifest.js";
import type { Input } from "../bundle/preprocess.js";
import { float16Finite } from "../tensors/float16.js";
import { NotTensors, readTensors, writeTensors, type Tensor, type Tensors } from "../tensors/safetensors.js";
import { AskError, NotNow } from "./errors.js";

const FORMAT = "mentee-answers/1";
const BOUNDARY = "mentee-device-8f1b6c0e5d"; // of the form's parts; one that occurs in the samples is lengthened
const HEAD = 1 << 16; // bytes of an answer besides its numbers

/** `mentorLogits` [N, K]; `activations` per probe [N, ...], half precision. */
export interface Reply {
  readonly mentorLogits: Float32Array;
  readonly activations: ReadonlyMap<string, Uint16Array>;
}

/** Body and Content-Type of N raw samples: a multipart form of three parts. Nothing else of the device is in it. */
export function requestBody(input: Input, manifest: Manifest, mentor: string): readonly [Bytes, string] {
  const { shape } = manifest.preprocessing;
  const N = input.length / product(shape);
  const dtype = input instanceof Uint8Array ? "U8" : "F32";
  const samples = writeTensors([["input", { dtype, shape: [N, ...shape], data: input.slice() as Tensor["data"] }]]);
  const text = new TextDecoder("latin1").decode(samples);
  let boundary = BOUNDARY;
  while (text.includes(boundary)) boundary += "x";
  const field = (name: string, value: string): string =>
    `--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
  const head =
    field("bundle", manifest.id) +
    field("mentor", mentor) +
    `--${boundary}\r\nContent-Disposition: form-data; name="samples"; filename="samples.safetensors"\r\n` +
    "Content-Type: application/octet-stream\r\n\r\n";
  const encoded = (part: string): Bytes => new TextEncoder().encode(part) as Bytes;
  const body = joined([encoded(head), samples, encoded(`\r\n--${boundary}--\r\n`)]);
  return [body, `multipart/form-data; boundary=${boundary}`];
}

/** Bytes that an answer to `N` samples may have. */
export function largestReply({ classes, probes }: Manifest, N: number): number {
  const layers = Array.from(probes.values(), (shape) => 2 * product(shape));
  return N * layers.reduce((sum, bytes) => sum + bytes, 4 * classes.length) + HEAD;
}

/** Checks whose answers these are, and every shape. Throws AskError for another mentor's, NotNow for a damaged answer. */
export function readReply(content: Uint8Array, manifest: Manifest, mentor: string, N: number): Reply {
  const { tensors, metadata } = tensorsIn(content);
  const stated = (name: string): string => metadata.get(name) ?? "";
  if (!stated("format") || !stated("mentor") || !stated("bundle")) throw unreadable("it does not say whose it is");
  if (stated("format") !== FORMAT) {
    const shown = JSON.stringify(stated("format").slice(0, 40));
    throw new AskError(`the service answers as ${shown}, this program reads ${JSON.stringify(FORMAT)}: update one`);
  }
  if (stated("mentor") !== mentor || stated("bundle") !== manifest.id) {
    const short = (id: string): string => `${id.slice(0, 12)}…`;
    throw new AskError(
      `the service answers for mentor ${short(stated("mentor"))} and bundle ${short(stated("bundle"))}, expected ` +
        `${short(mentor)} and ${short(manifest.id)}: its answers are refused`,
    );
  }
  const mentorLogits = numbers(tensors, "mentor_logits", "F32", [N, manifest.classes.length]) as Float32Array;
  const activations = Array.from(manifest.probes, ([probe, shape]) => {
    return [probe, numbers(tensors, activationInput(probe), "F16", [N, ...shape]) as Uint16Array] as const;
  });
  return { mentorLogits, activations: new Map(activations) };
}

function tensorsIn(content: Uint8Array): Tensors {
  try {
    return readTensors(content);
  } catch (error) {
    if (!(error instanceof NotTensors)) throw error;
    throw unreadable(error.message);
  }
}

function numbers(tensors: Tensors["tensors"], name: string, dtype: "F32" | "F16", shape: readonly number[]) {
  const tensor = tensors.get(name);
  if (tensor === undefined) throw unreadable(`it lacks ${name}`);
  const fits = tensor.dtype === dtype && JSON.stringify(tensor.shape) === JSON.stringify(shape);
  const { data } = tensor;
  const finite = data instanceof Uint16Array ? float16Finite(data) : (data as Float32Array).every(Number.isFinite);
  if (!fits || !finite) {
    throw new AskError(
      `the service's ${name} is ${tensor.dtype} [${tensor.shape}], expected finite ${dtype} [${shape}]`,
    );
  }
  return data;
}

function unreadable(why: string): NotNow {
  return new NotNow(`the service's answer cannot be read (${why}): cut off, or no mentor's service`);
}

function product(shape: readonly number[]): number {
  return shape.reduce((all, size) => all * size, 1);
}
