import { describe, expect, test } from "vitest";

import { joined } from "../../src/bytes.js";
import { BundleError } from "../../src/bundle/errors.js";
import { checkGraph } from "../../src/bundle/graphs.js";

const FILES = new Map([["ort/weights", { sha256: "", bytes: 100 }]]);
const text = (value: string): Uint8Array => new TextEncoder().encode(value);

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value % 128) + 128, ...varint(Math.floor(value / 128))];
}

/** A field that is a message. */
function field(number: number, ...content: Uint8Array[]): Uint8Array {
  const whole = joined(content);
  return joined([Uint8Array.from([...varint(number * 8 + 2), ...varint(whole.length)]), whole]);
}

const flag = (number: number, value: number): Uint8Array => Uint8Array.from([...varint(number * 8), ...varint(value)]);
const node = (op: string, domain = "", ...more: Uint8Array[]): Uint8Array =>
  field(1, field(4, text(op)), field(7, text(domain)), ...more);
const model = (...graph: Uint8Array[]): Uint8Array => field(7, ...graph);
const entry = (key: string, value: string): Uint8Array => field(13, field(1, text(key)), field(2, text(value)));
const external = (location: string, offset = "0", length = "100"): Uint8Array =>
  model(field(5, flag(14, 1), entry("location", location), entry("offset", offset), entry("length", length)));

function nested(depth: number): Uint8Array {
  let body: Uint8Array = new Uint8Array();
  for (let i = 0; i < depth; i++) body = node("If", "", field(5, field(6, body)));
  return model(body);
}

describe("checkGraph", () => {
  test.each([
    ["ONNX's own operators", model(node("Conv"), node("If", "ai.onnx"))],
    ["those of a training graph", model(node("ConvGrad", "com.microsoft"), node("AdamWOptimizer", "com.microsoft"))],
    ["a weight in a file of the bundle", external("weights")],
    ["graphs within graphs", nested(10)],
  ])("takes %s", (_, graph) => {
    expect(() => checkGraph(graph, "ort/x.onnx", FILES)).not.toThrow();
  });

  const opset = (version: number, domain: string): Uint8Array => field(8, field(1, text(domain)), flag(2, version));

  test.each([
    [
      "an operator of the training build",
      model(node("ConvGrad", "com.microsoft")),
      /exporter for a stock graph writes/,
    ],
    ["opset 19", joined([opset(19, ""), model()]), /opset 19, a stock graph has at most 18/],
    ["opset 19 by its other name", joined([opset(19, "ai.onnx"), model()]), /opset 19/],
    ["IR 11", joined([flag(1, 11), model()]), /IR version 11, a stock graph has at most 10/],
  ])("refuses %s in a stock graph alone", (_, graph, why) => {
    expect(() => checkGraph(graph, "ort/x.onnx", FILES)).not.toThrow();
    expect(() => checkGraph(graph, "ort/x.onnx", FILES, true)).toThrow(why);
    const allowed = joined([flag(1, 10), opset(18, ""), opset(99, "unused"), model(node("Conv"))]);
    expect(() => checkGraph(allowed, "ort/x.onnx", FILES, true)).not.toThrow();
  });

  test.each([
    ["Loop", model(node("Loop")), /may run without end/],
    ["Scan in a subgraph", model(node("If", "", field(5, field(6, node("Scan"))))), /may run without end/],
    ["another domain", model(node("Relu", "custom")), /is none that an exporter/],
    ["code of another language", model(node("PythonOpGrad", "com.microsoft")), /is none that an exporter/],
    ["functions", joined([model(), field(25)]), /functions of its own/],
    ["training information", joined([model(), field(20)]), /training information/],
    ["two graphs", joined([model(), model()]), /field 7 of a model twice/],
    ["no graph", field(8), /no graph in it/],
    ["nothing", new Uint8Array(), /no graph in it/],
    ["a file that is not the bundle's", external("/etc/passwd"), /no file that manifest.json lists/],
    ["a file above", external("../ort/weights"), /no file that manifest.json lists/],
    ["no file", model(field(5, flag(14, 1))), /no file that manifest.json lists/],
    ["bytes beyond a file", external("weights", "1"), /points to bytes 1 to 101/],
    ["a place that is no number", external("weights", "-1"), /expected a number/],
    ["a place said twice", model(field(5, entry("location", "weights"), entry("location", "x"))), /said twice/],
    ["graphs too deep", nested(40), /deep in each other/],
    ["a message that is cut", model(node("Conv")).subarray(0, 8), /beyond its message/],
    ["a number without end", new Uint8Array(12).fill(0x80), /does not end/],
    ["a group", Uint8Array.of(7 * 8 + 3), /of kind 3/],
    ["field 0", Uint8Array.of(2, 0), /field number 0/],
    ["a graph that is a number", flag(7, 1), /is no message/],
    ["an operator that is no text", model(field(1, field(4, Uint8Array.of(0xff)))), /no UTF-8/],
  ])("refuses %s", (_, graph, why) => {
    expect(() => checkGraph(graph, "ort/x.onnx", FILES)).toThrow(BundleError);
    expect(() => checkGraph(graph, "ort/x.onnx", FILES)).toThrow(why);
  });
});
