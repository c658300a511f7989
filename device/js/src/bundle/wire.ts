// The fields of a protobuf message (protobuf.dev/programming-guides/encoding), read without the classes of its schema.
//
// It reads what a check of an unknown file needs, and is total: it looks at each byte at most once, and what is not a message
// throws.

import { utf8 } from "../bytes.js";

export const VARINT = 0;
const EIGHT = 1;
export const MESSAGE = 2;
const FOUR = 5; // kinds of fields; 3 and 4 are groups, which ONNX has none of
const LONGEST = 10; // bytes of a number

/** One field; of a VARINT `start` is its value. A value above 2^53 is rounded: it is compared with small ones only. */
export interface Field {
  readonly number: number;
  readonly kind: number;
  readonly start: number;
  readonly end: number;
}

/** Bytes that are no protobuf message; one line. */
export class NotAMessage extends Error {}

/** The fields of the message that lies from `start` to `end`, in order. Throws NotAMessage. */
export function* fields(data: Uint8Array, start: number, end: number): Generator<Field> {
  let at = start;
  while (at < end) {
    const [tag, after] = varint(data, at, end);
    const [number, kind] = [Math.floor(tag / 8), tag % 8];
    at = after;
    if (number <= 0 || number >= 2 ** 29) throw new NotAMessage(`field number ${number} at byte ${at}`);
    let length: number;
    if (kind === MESSAGE) [length, at] = varint(data, at, end);
    else if (kind === VARINT) {
      const [value, next] = varint(data, at, end);
      at = next;
      yield { number, kind, start: value, end: at };
      continue;
    } else if (kind === EIGHT || kind === FOUR) length = kind === EIGHT ? 8 : 4;
    else throw new NotAMessage(`field ${number} of kind ${kind} at byte ${at}`);
    if (length > end - at) {
      throw new NotAMessage(`field ${number} at byte ${at} goes ${length - (end - at)} bytes beyond its message`);
    }
    yield { number, kind, start: at, end: at + length };
    at += length;
  }
}

/** The number that begins at `at`, and the place after it. Throws NotAMessage. */
function varint(data: Uint8Array, at: number, end: number): [number, number] {
  let value = 0;
  let factor = 1;
  for (let place = 0; place < LONGEST && at + place < end; place++) {
    const byte = data[at + place] ?? 0;
    value += (place === LONGEST - 1 ? byte & 1 : byte & 127) * factor; // of 64 bits
    if (byte < 128) return [value, at + place + 1];
    factor *= 128;
  }
  throw new NotAMessage(`a number at byte ${at} that does not end`);
}

/** A field's bytes as UTF-8. Throws NotAMessage. */
export function text(data: Uint8Array, field: Field): string {
  if (field.kind !== MESSAGE) throw new NotAMessage(`field ${field.number} is no text`);
  try {
    return utf8(data.subarray(field.start, field.end));
  } catch {
    throw new NotAMessage(`field ${field.number} at byte ${field.start} is no UTF-8`);
  }
}
