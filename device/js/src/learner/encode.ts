// Fields of a protobuf message as bytes (protobuf.dev/programming-guides/encoding); src/bundle/wire.ts reads them.

import { joined, type Bytes } from "../bytes.js";
import { MESSAGE, VARINT } from "../bundle/wire.js";

/** A field of bytes: another message, or a text's. */
export function message(field: number, content: Uint8Array): Bytes {
  return joined([Uint8Array.from([...varint(field * 8 + MESSAGE), ...varint(content.length)]), content]);
}

export function text(field: number, content: string): Bytes {
  return message(field, new TextEncoder().encode(content));
}

export function number(field: number, value: number): Bytes {
  return Uint8Array.from([...varint(field * 8 + VARINT), ...varint(value)]);
}

function* varint(value: number): Generator<number> {
  for (; value >= 128; value = Math.floor(value / 128)) yield (value % 128) + 128;
  yield value;
}
