// What is done with the flat vectors between the graphs, where they lie: in JavaScript's memory, or in the graphics card's by graphs
// of one operator, so that no vector leaves it from step to step. Axes: P numbers of a vector.

import type { InferenceSession, Tensor } from "onnxruntime-common";

import { joined } from "../bytes.js";
import { message, number, text } from "./encode.js";
import type { Runtime, SessionOptions } from "./runtime.js";

const OPSET = 17;
const IR_VERSION = 8;
const FLOAT = 1; // ONNX's number of the type

/** The providers of `onnxruntime-web` whose tensors stay on the card where they are asked to. */
export function isOnCard({ executionProviders = [] }: SessionOptions): boolean {
  return executionProviders.some((one) => (typeof one === "string" ? one : one.name) === "webgpu");
}

export class Vectors {
  readonly onCard: boolean;
  private readonly graphs = new Map<string, Promise<InferenceSession>>();

  /** `options` of the sessions, which say whether vectors lie on the card. */
  constructor(
    private readonly runtime: Runtime,
    private readonly options: SessionOptions,
  ) {
    this.onCard = isOnCard(options);
  }

  /** Whether the absolute values of all [P] are below `limit`; false for NaN. */
  async below(vector: Tensor, limit: number): Promise<boolean> {
    if (vector.location !== "gpu-buffer") return allBelow((await vector.getData()) as Float32Array, limit);
    const { size } = await (await this.graph("size")).run({ a: vector });
    const [sum = Number.NaN] = (await (size as Tensor).getData()) as Float32Array; // NaN where one is
    return sum < limit || allBelow((await vector.getData()) as Float32Array, limit);
  }

  /** [P] + [P], in the memory of the first one, which is not to be used again. */
  async sum(one: Tensor, other: Tensor): Promise<Tensor> {
    if (one.location === "gpu-buffer") {
      const { sum } = await (await this.graph("sum")).run({ a: one, b: other });
      for (const summand of [one, other]) dispose(summand);
      return sum as Tensor;
    }
    const [sum, more] = [one.data as Float32Array, other.data as Float32Array];
    for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] ?? 0) + (more[i] ?? 0);
    return one;
  }

  async release(): Promise<void> {
    for (const graph of this.graphs.values()) await (await graph).release();
    this.graphs.clear();
  }

  private graph(name: "size" | "sum"): Promise<InferenceSession> {
    const known = this.graphs.get(name);
    if (known !== undefined) return known;
    const preferredOutputLocation = name === "sum" ? "gpu-buffer" : "cpu";
    const made = this.runtime.InferenceSession.create(GRAPHS[name](), { ...this.options, preferredOutputLocation });
    this.graphs.set(name, made);
    return made;
  }
}

/** Gives back what a tensor has of the card's memory. */
export function dispose(tensor: Tensor | null | undefined): void {
  if (tensor?.location === "gpu-buffer") tensor.dispose();
}

/** A loop: `every` takes ten times as long. */
function allBelow(values: Float32Array, limit: number): boolean {
  for (let i = 0; i < values.length; i++) {
    const value = values[i] ?? 0;
    if (!(value < limit && value > -limit)) return false;
  }
  return true;
}

const GRAPHS = {
  size: () =>
    model([node("Abs", ["a"], ["b"]), node("ReduceSum", ["b"], ["size"])], [port("a", "P")], [port("size", 1)]),
  sum: () => model([node("Add", ["a", "b"], ["sum"])], [port("a", "P"), port("b", "P")], [port("sum", "P")]),
};

// Messages of onnx.proto, by its numbers of their fields.

function model(nodes: Uint8Array[], inputs: Uint8Array[], outputs: Uint8Array[]): Uint8Array {
  const graph = joined([
    ...nodes.map((one) => message(1, one)),
    text(2, "vectors"),
    ...inputs.map((one) => message(11, one)),
    ...outputs.map((one) => message(12, one)),
  ]);
  return joined([number(1, IR_VERSION), message(8, number(2, OPSET)), message(7, graph)]);
}

function node(operator: string, inputs: string[], outputs: string[]): Uint8Array {
  return joined([...inputs.map((one) => text(1, one)), ...outputs.map((one) => text(2, one)), text(4, operator)]);
}

function port(name: string, size: string | number): Uint8Array {
  const dimension = typeof size === "string" ? text(2, size) : number(1, size);
  const tensor = joined([number(1, FLOAT), message(2, message(1, dimension))]);
  return joined([text(1, name), message(2, message(1, tensor))]);
}
