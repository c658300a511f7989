// A graph that points to its weights (ONNX's external data), with them written into it: sessions are made of bytes here, and open
// no file. Nothing of a graph is read but where its weights are; numbers are those of onnx.proto.

import { joined } from "../bytes.js";
import { MESSAGE, fields, text, type Field } from "../bundle/wire.js";
import { message } from "./encode.js";

const GRAPH = 7; // of a model
const INITIALIZER = 5; // of a graph
const RAW_DATA = 9; // of a tensor
const EXTERNAL_DATA = 13;
const DATA_LOCATION = 14;

/** `model` is a graph's bytes, which `checkGraph` has passed; `files` has, by the names that it points to, the bytes of others. */
export function withWeights(model: Uint8Array, files: ReadonlyMap<string, Uint8Array>): Uint8Array {
  return replaced(model, GRAPH, (graph) => replaced(graph, INITIALIZER, (tensor) => withData(tensor, files)));
}

function withData(tensor: Uint8Array, files: ReadonlyMap<string, Uint8Array>): Uint8Array {
  const kept: Uint8Array[] = [];
  const place = new Map<string, string>();
  for (const [field, whole] of parts(tensor)) {
    if (field.number === EXTERNAL_DATA) {
      const words = new Map<number, string>();
      for (const one of fields(tensor, field.start, field.end)) words.set(one.number, text(tensor, one));
      place.set(words.get(1) ?? "", words.get(2) ?? "");
    } else if (field.number !== DATA_LOCATION) kept.push(whole);
  }
  const location = place.get("location");
  if (location === undefined) return tensor;
  const start = Number(place.get("offset") ?? 0);
  const length = Number(place.get("length"));
  const data = files.get(location)?.subarray(start, start + length);
  if (data?.length !== length)
    throw new RangeError(`the graph points to ${length} bytes of ${location}, which are not there`);
  return joined([...kept, message(RAW_DATA, data)]);
}

function replaced(whole: Uint8Array, number: number, change: (content: Uint8Array) => Uint8Array): Uint8Array {
  const made: Uint8Array[] = [];
  for (const [field, unchanged] of parts(whole)) {
    const content = whole.subarray(field.start, field.end);
    const changed = field.number === number && field.kind === MESSAGE ? change(content) : content;
    made.push(changed === content ? unchanged : message(number, changed));
  }
  return joined(made);
}

/** The fields of a message, each with its bytes, tag included. */
function* parts(whole: Uint8Array): Generator<[Field, Uint8Array]> {
  let first = 0;
  for (const field of fields(whole, 0, whole.length)) {
    yield [field, whole.subarray(first, field.end)];
    first = field.end;
  }
}
