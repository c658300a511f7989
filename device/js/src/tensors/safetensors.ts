// safetensors (github.com/huggingface/safetensors, "Format"): 8 bytes of length, a header in JSON, and the tensors' bytes without a
// hole. Read strictly: what another reader would refuse is refused here.

import { joined, utf8, type Bytes } from "../bytes.js";
import { NotJson, parseJson, type Json, type JsonObject } from "../json.js";

const ARRAYS = {
  F64: Float64Array,
  F32: Float32Array,
  F16: Uint16Array, // its bits
  I64: BigInt64Array,
  U64: BigUint64Array,
  I32: Int32Array,
  U32: Uint32Array,
  I16: Int16Array,
  U16: Uint16Array,
  I8: Int8Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
} as const;
const MOST_HEADER = 100_000_000; // bytes
const MOST_AXES = 64;
const METADATA = "__metadata__";
const ALIGNED = 8;

export type Dtype = keyof typeof ARRAYS;
type ArrayOf<D extends Dtype> = InstanceType<(typeof ARRAYS)[D]> & { readonly buffer: ArrayBuffer };

/** `data` holds the product of `shape` numbers. */
export interface Tensor<D extends Dtype = Dtype> {
  readonly dtype: D;
  readonly shape: readonly number[];
  readonly data: ArrayOf<D>;
}

export interface Tensors {
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** Bytes that are no safetensors file; one line. */
export class NotTensors extends Error {
  override readonly name = "NotTensors";
}

/** All tensors of a file, each with memory of its own. Throws NotTensors. */
export function readTensors(file: Uint8Array): Tensors {
  const [header, start] = headerOf(file);
  const data = file.subarray(start);
  const tensors = new Map<string, Tensor>();
  const metadata = new Map<string, string>();
  const places: [number, number][] = [];
  for (const [name, about] of header) {
    if (!(about instanceof Map)) throw new NotTensors(`${JSON.stringify(name)} is no object in the header`);
    if (name === METADATA) {
      for (const [key, value] of about) {
        if (typeof value !== "string") throw new NotTensors(`metadata ${JSON.stringify(key)} is no text`);
        metadata.set(key, value);
      }
      continue;
    }
    const [tensor, place] = tensorOf(name, about, data);
    tensors.set(name, tensor);
    places.push(place);
  }
  requireNoHole(places, data.length);
  return { tensors, metadata };
}

function headerOf(file: Uint8Array): [JsonObject, number] {
  if (file.length < 8) throw new NotTensors(`${file.length} bytes, too few for a header`);
  const length = new DataView(file.buffer, file.byteOffset, 8).getBigUint64(0, true);
  if (length > MOST_HEADER || Number(length) > file.length - 8) throw new NotTensors(`a header of ${length} bytes`);
  const end = 8 + Number(length);
  try {
    const header = parseJson(utf8(file.subarray(8, end)));
    if (header instanceof Map) return [header, end];
  } catch (error) {
    if (!(error instanceof NotJson || error instanceof TypeError)) throw error;
    throw new NotTensors(`a header that is no JSON: ${error.message}`);
  }
  throw new NotTensors("a header that is no object");
}

function tensorOf(name: string, about: JsonObject, data: Uint8Array): [Tensor, [number, number]] {
  const dtype = about.get("dtype");
  if (!isDtype(dtype)) throw new NotTensors(`${JSON.stringify(name)} has a dtype that is not known here`);
  const shape = wholes(about.get("shape"), name);
  const [start = 0, end = 0, ...more] = wholes(about.get("data_offsets"), name);
  const constructor = ARRAYS[dtype];
  const elements = shape.reduce((product, size) => product * size, 1);
  if (
    shape.length > MOST_AXES ||
    more.length ||
    end > data.length ||
    end - start !== elements * constructor.BYTES_PER_ELEMENT
  ) {
    throw new NotTensors(
      `${JSON.stringify(name)} of shape [${shape.slice(0, 9)}] does not fit bytes ${start} to ${end}`,
    );
  }
  const own = new Uint8Array(data.subarray(start, end)); // aligned, and its own: `slice` of Node's Buffer is neither
  return [{ dtype, shape, data: new constructor(own.buffer) as ArrayOf<Dtype> }, [start, end]];
}

function isDtype(value: Json | undefined): value is Dtype {
  return typeof value === "string" && Object.hasOwn(ARRAYS, value);
}

function wholes(value: Json | undefined, name: string): number[] {
  if (!Array.isArray(value)) throw new NotTensors(`${JSON.stringify(name)} lacks its shape or its place`);
  return value.map((one) => {
    if (typeof one !== "bigint" || one < 0 || one > Number.MAX_SAFE_INTEGER) {
      throw new NotTensors(`${JSON.stringify(name)} has ${String(one).slice(0, 20)} where a size is expected`);
    }
    return Number(one);
  });
}

function requireNoHole(places: [number, number][], length: number): void {
  let at = 0;
  for (const [start, end] of places.sort(([a, b], [c, d]) => a - c || b - d)) {
    if (start !== at) throw new NotTensors(`a hole or an overlap at byte ${at}`);
    at = end;
  }
  if (at !== length) throw new NotTensors(`${length} bytes of tensors, its header tells of ${at}`);
}

/** A file of `tensors`: wide numbers first, so that each lies aligned. The same tensors give the same bytes. */
export function writeTensors(
  tensors: Iterable<readonly [string, Tensor]>,
  metadata: Iterable<readonly [string, string]> = [],
): Bytes {
  const sorted = [...tensors].sort(([one, a], [other, b]) => {
    const wider = b.data.BYTES_PER_ELEMENT - a.data.BYTES_PER_ELEMENT;
    return wider || (one < other ? -1 : 1);
  });
  const header: Record<string, unknown> = {};
  const about = Object.fromEntries(metadata);
  if (Object.keys(about).length) header[METADATA] = about;
  const parts: Uint8Array[] = [];
  let at = 0;
  for (const [name, { dtype, shape, data }] of sorted) {
    header[name] = { dtype, shape, data_offsets: [at, at + data.byteLength] };
    parts.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    at += data.byteLength;
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const padded = new Uint8Array(Math.ceil(text.length / ALIGNED) * ALIGNED).fill(" ".charCodeAt(0));
  padded.set(text);
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(padded.length), true);
  return joined([length, padded, ...parts]);
}
