import { existsSync } from "node:fs";
import * as node from "onnxruntime-node";
import * as web from "onnxruntime-web/wasm";
import { beforeAll, describe, expect, test } from "vitest";

import { Learner } from "../../src/learner/learner.js";
import { RuntimeError } from "../../src/learner/refusals.js";
import type { Runtime, SessionOptions } from "../../src/learner/runtime.js";
import { readCheckpoint } from "../../src/learner/snapshot.js";
import { openBundle } from "../../src/node/folder.js";
import { bytes, json, place, refusal } from "../fixtures.js";
import { NAMES } from "./names.js";
import { replay, type Recorded } from "./replay.js";

// React Native's package brings the types alone to a Node: that the client takes it is for the compiler to say.
type ReactNative = typeof import("onnxruntime-react-native");
const takesReactNative: ReactNative extends Runtime ? true : false = true;

const RUNTIMES: [string, Runtime][] = [
  ["onnxruntime-node", node],
  ["onnxruntime-web", web],
];
web.env.wasm.numThreads = 1;

describe.skipIf(!existsSync(place("runtimes")))("on recorded batches", () => {
  let batches: Recorded[];
  beforeAll(() => void (batches = json("runtimes", "batches.json")));

  describe.each(RUNTIMES)("%s", (_, runtime) => {
    test.each(NAMES)("learns what Python does: %s", async (name) => {
      const learner = await Learner.open(await openBundle(place("stock", name)), runtime);
      const state = await readCheckpoint(await bytes("runtimes", `${name}.safetensors`));
      const apart = await replay(learner, batches, { ...json<any>("runtimes", `${name}.json`), state });
      await learner.close();
      expect(apart.terms).toBeLessThan(1e-5);
      expect(apart.state).toBeLessThan(1e-4);
      expect(apart.logits).toBeLessThan(1e-4);
    });

    test("and not what it does with other batches", async () => {
      const learner = await Learner.open(await openBundle(place("stock", "gru")), runtime);
      const state = await readCheckpoint(await bytes("runtimes", "gru.safetensors"));
      const others = batches.map((step) => ({ ...step, rate: step.rate * 1.01 }));
      const apart = await replay(learner, others, { ...json<any>("runtimes", "gru.json"), state });
      await learner.close();
      expect(apart.terms).toBeGreaterThan(1e-4);
      expect(apart.state).toBeGreaterThan(1e-4);
    });

    test.each<[string, (graph: Buffer) => void, RegExp]>([
      [
        "an operator that it has not",
        (graph) => graph.write("Cunv", graph.indexOf("Conv")),
        /has no operator Cunv, which stock\/forward/,
      ],
      [
        "a newer ONNX than it knows",
        (graph) => (graph[1] = 99),
        /too old for stock\/forward.onnx \(.*99.*\): take ONNX Runtime 1.17/,
      ],
      [
        "newer operators than it knows",
        (graph) => (graph[graph.length - 1] = 99),
        /too old for stock\/forward.onnx \(.*99/,
      ],
    ])("says of %s that the runtime is to blame", async (_what, edit, why) => {
      const bundle = await openBundle(place("stock", "adamw"));
      const forward = await bundle.read("stock/forward.onnx");
      const error = await refusal(Learner.open(bundle, givenOther(runtime, forward, edit)));
      expect(error).toBeInstanceOf(RuntimeError);
      expect(error.message).toMatch(why);
      expect(error.message).not.toMatch(/\n/);
    });
  });

  test("what is no runtime is none", async () => {
    expect(takesReactNative).toBe(true);
    const bundle = await openBundle(place("stock", "gru"));
    for (const other of [undefined, {}, { default: node }]) {
      expect((await refusal(Learner.open(bundle, other as unknown as Runtime))).message).toMatch(
        /no ONNX Runtime.*import \* as ort/,
      );
    }
  });
});

/** The runtime, which is given `graph` edited: a bundle with such a graph would not be opened. */
function givenOther(runtime: Runtime, graph: Uint8Array, edit: (graph: Buffer) => void): Runtime {
  const create = (model: Uint8Array, options: SessionOptions) => {
    const bytes = Buffer.from(model);
    if (bytes.equals(graph)) edit(bytes);
    return runtime.InferenceSession.create(Uint8Array.from(bytes), options);
  };
  return { Tensor: runtime.Tensor, InferenceSession: { create } as unknown as Runtime["InferenceSession"] };
}
