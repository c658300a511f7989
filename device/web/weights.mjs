// A graph that points to its weights (ONNX's external data), with them written into it: the training session of onnxruntime-web
// takes bytes, and opens no file. Nothing of a graph is read but where its weights are.

const GRAPH = 7; // numbers of fields in onnx.proto
const INITIALIZER = 5;
const RAW_DATA = 9;
const EXTERNAL_DATA = 13;
const DATA_LOCATION = 14;
const FIXED = { 1: 8, 5: 4 }; // bytes by wire type

// `model` is a graph's bytes; `files` has, by the names that it points to, the bytes of other files.
export function withWeights(model, files) {
  return replaced(model, GRAPH, (graph) => replaced(graph, INITIALIZER, (tensor) => withData(tensor, files)));
}

function withData(tensor, files) {
  const kept = [];
  const at = {};
  for (const { number, whole, content } of fieldsOf(tensor)) {
    if (number === EXTERNAL_DATA) {
      const entry = {};
      for (const field of fieldsOf(content)) entry[field.number] = new TextDecoder().decode(field.content);
      at[entry[1]] = entry[2];
    } else if (number !== DATA_LOCATION) kept.push(whole);
  }
  if (at.location === undefined) return tensor;
  const [start, length] = [Number(at.offset), Number(at.length)];
  const data = files[at.location]?.subarray(start, start + length);
  if (data?.length !== length) throw new Error(`the graph points to ${length} bytes of ${at.location}, which are not there`);
  return joined([...kept, ...written(RAW_DATA, data)]);
}

function replaced(message, wanted, change) {
  const parts = [];
  for (const { number, whole, content } of fieldsOf(message)) {
    const made = number === wanted ? change(content) : content;
    parts.push(...(made === content ? [whole] : written(number, made)));
  }
  return joined(parts);
}

function* fieldsOf(message) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = message[at++];
      if (byte === undefined) throw new Error("the graph ends too early");
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const first = at;
    const tag = varint();
    const kind = tag & 7;
    if (kind === 0) varint();
    const length = kind === 2 ? varint() : (FIXED[kind] ?? 0);
    const content = message.subarray(at, at + length);
    at += length;
    yield { number: Math.floor(tag / 8), whole: message.subarray(first, at), content };
  }
}

function written(number, content) {
  return [Uint8Array.from([...varintOf(number * 8 + 2), ...varintOf(content.length)]), content];
}

function* varintOf(value) {
  for (; value >= 128; value = Math.floor(value / 128)) yield (value % 128) + 128;
  yield value;
}

function joined(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
