import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as node from "onnxruntime-node";
import { afterEach, describe, expect, test } from "vitest";

import { Bundle } from "../../src/bundle/bundle.js";
import { BundleError } from "../../src/bundle/errors.js";
import type { Knobs } from "../../src/bundle/manifest/inputs.js";
import type { Samples } from "../../src/bundle/packs.js";
import { SampleError } from "../../src/bundle/preprocess.js";
import { MemorySource } from "../../src/bundle/source.js";
import { Learner, LearningError, type Terms } from "../../src/learner/learner.js";
import type { Runtime } from "../../src/learner/runtime.js";
import { SnapshotError, readCheckpoint, readSnapshot, writeSnapshot } from "../../src/learner/snapshot.js";
import type { Part } from "../../src/bundle/manifest/stock.js";
import { readTensors, writeTensors } from "../../src/tensors/safetensors.js";
import { openBundle } from "../../src/node/folder.js";
import { bytes, filesOf, json, place, refusal, resealed } from "../fixtures.js";

interface Expected {
  bundle: string;
  steps: number;
  seed: number;
  own: number;
  labels: number[];
  knobs: Partial<Knobs>;
  terms: Terms[];
  logits: number[];
  accuracy: number;
}

const NODE: Runtime = node;

const opened: Learner[] = [];
afterEach(async () => {
  for (const learner of opened.splice(0)) await learner.close();
});

const RUNS: Record<string, Expected> = existsSync(place("learning.json")) ? json("learning.json") : {};

async function learnerOf(bundle: string): Promise<Learner> {
  const learner = await Learner.open(await openBundle(place("stock", bundle)), NODE);
  opened.push(learner);
  return learner;
}

async function ownOf(learner: Learner, { own, labels }: Expected): Promise<Samples> {
  const golden = await learner.bundle.golden();
  const each = golden.input.length / golden.labels.length;
  return { input: golden.input.subarray(0, own * each), labels: Int32Array.from(labels) };
}

/** The largest difference from Python of any term of any step. */
async function apart(learner: Learner, expected: Expected): Promise<number> {
  const { steps, seed, knobs, terms } = expected;
  const seen: Terms[] = [];
  const onProgress = (_done: number, _steps: number, step: Terms): void => void seen.push(step);
  await learner.learn(await ownOf(learner, expected), { steps, seed, knobs, onProgress });
  await learner.endCollecting();
  expect(seen).toHaveLength(terms.length);
  const differences = terms.flatMap((step, place) =>
    Object.entries(step).map(([name, value]) => Math.abs(value - (seen[place]?.[name] ?? Number.NaN))),
  );
  return differences.reduce((most, one) => (one <= most ? most : one), 0); // NaN is kept
}

describe.skipIf(!Object.keys(RUNS).length)("a learner", () => {
  test.each(["adamw", "parts", "everything", "nesterov", "head"])(
    "learns in onnxruntime-node what Python does: %s",
    async (variant) => {
      const expected = RUNS[variant]!;
      const learner = await learnerOf(expected.bundle);
      expect(await apart(learner, expected)).toBeLessThan(1e-5);
      const golden = await learner.bundle.golden();
      const { logits, classes } = await learner.predict(golden.input);
      const off = expected.logits.map((value, place) => Math.abs(value - (logits[place] ?? Number.NaN)));
      expect(Math.max(...off)).toBeLessThan(1e-4);
      expect(await learner.evaluateGolden()).toBeCloseTo(expected.accuracy, 6);
      expect(classes).toHaveLength(golden.labels.length);
      expect(new Set(expected.terms.map((step) => step["loss"])).size).toBe(expected.steps);
    },
  );

  test("learns something else from other draws, rates and knobs", async () => {
    const expected = RUNS["adamw"]!;
    const learner = await learnerOf("adamw");
    for (const other of [{ seed: 8 }, { knobs: { alpha: 0.9 } }, { labels: [...expected.labels].reverse() }]) {
      learner.reset();
      expect(await apart(learner, { ...expected, ...other })).toBeGreaterThan(1e-3);
    }
  });

  test("goes on from a snapshot, in a file, as if it had not stopped", async () => {
    const expected = RUNS["nesterov"]!;
    const learner = await learnerOf("nesterov");
    const own = await ownOf(learner, expected);
    await learner.learn(own, { steps: 12, seed: 1, learningRate: 0.01 });
    const whole = await writeSnapshot(await learner.snapshot());
    learner.reset();
    await learner.learn(own, { steps: 5, seed: 1, learningRate: 0.01 });
    const file = await writeSnapshot(await learner.snapshot());
    const other = await learnerOf("nesterov");
    other.restore(await readSnapshot(file));
    await other.learn(own, { steps: 7 });
    expect(await writeSnapshot(await other.snapshot())).toEqual(whole);
    for (const at of [9, file.length >> 1, file.length - 1]) {
      const flipped = file.slice();
      flipped[at]! ^= 1;
      expect(await refusal(readSnapshot(flipped))).toBeInstanceOf(SnapshotError);
    }
  });

  test("takes rates and knobs by the step, and stops when it is told", async () => {
    const expected = RUNS["adamw"]!;
    const learner = await learnerOf("adamw");
    const stop = new AbortController();
    const rates: number[] = [];
    const done = await learner.learn(await ownOf(learner, expected), {
      steps: 10,
      learningRate: (step) => 0.001 * (step + 1),
      knobs: (step) => ({ beta: 1 / (step + 1) }),
      signal: stop.signal,
      onProgress: (step) => {
        rates.push(learner.learningRate);
        if (step === 3) stop.abort();
      },
    });
    expect(done.steps).toBe(3);
    expect(rates.map((rate) => rate.toFixed(6))).toEqual(["0.001000", "0.002000", "0.003000"]);
  });

  test("weighs guessed labels", async () => {
    const learner = await learnerOf("adamw");
    const golden = await learner.bundle.golden();
    const own = { input: golden.input.subarray(0, 128), labels: golden.labels.subarray(0, 2) };
    const [one, none] = [Float32Array.of(1, 1), Float32Array.of(1, 0)];
    const both = await learner.learnBatch(own, null, { weights: one });
    learner.reset();
    const first = await learner.learnBatch(own, null, { weights: none });
    learner.reset();
    const alone = await learner.learnBatch({
      input: golden.input.subarray(0, 64),
      labels: golden.labels.subarray(0, 1),
    });
    expect(first["ce"]).toBeCloseTo(alone["ce"]!, 5);
    expect(both["ce"]).not.toBeCloseTo(alone["ce"]!, 3);
  });

  test("changes nothing in a step that it refuses", async () => {
    const learner = await learnerOf("nesterov");
    const expected = RUNS["nesterov"]!;
    const own = await ownOf(learner, expected);
    const before = await writeSnapshot(await learner.snapshot());
    const unlabelled = { input: own.input, labels: own.labels.slice().fill(-1) };
    expect((await refusal(learner.learnBatch(unlabelled))).message).toMatch(/nothing to learn from/);
    const replay = await learner.drawReplay(4);
    await refusal(learner.learnBatch(own, replay, { knobs: { alpha: 3e38, gamma: 3e38, temperature: 1e30 } }));
    learner.restore(await readSnapshot(before));
    expect(await refusal(learner.learnBatch(own, null, { knobs: { alpha: 3e38 } }))).toBeInstanceOf(LearningError);
    expect(await refusal(learner.learnBatch(own, null, { knobs: { alpha: -1 } }))).toBeInstanceOf(SampleError);
    expect(await refusal(learner.learnBatch(own, null, { ownerWeight: 0 }))).toBeInstanceOf(SampleError);
    expect(await refusal(learner.learnBatch({ ...own, labels: own.labels.slice(1) }))).toBeInstanceOf(SampleError);
    expect(() => (learner.learningRate = 0)).toThrow(LearningError);
    expect(await writeSnapshot(await learner.snapshot())).toEqual(before);
  });

  test("gives and takes the checkpoint that Python gives and takes", async () => {
    const learner = await learnerOf("nesterov");
    await learner.learn(await ownOf(learner, RUNS["nesterov"]!), { steps: 3, seed: 4 });
    const snapshot = await learner.snapshot();
    const file = await writeSnapshot(snapshot);
    const { parameters, statistics } = learner.bundle.manifest.stock!;
    const rows = (parts: readonly Part[]): unknown[] => parts.map(({ name, offset, shape }) => [name, offset, shape]);
    const state = {
      format: "mentee-checkpoint",
      parameters: rows(parameters),
      statistics: rows(statistics),
      step: 3,
      version: 1,
    };
    expect(JSON.parse(readTensors(file).metadata.get("state")!)).toEqual(state);
    const bare = writeTensors(readTensors(file).tensors, [["state", JSON.stringify(state)]]);
    learner.reset();
    learner.load(await readCheckpoint(bare));
    expect((await learner.snapshot()).state).toEqual(snapshot.state);
    expect(learner.step).toBe(3);
    expect(await refusal(readSnapshot(bare))).toBeInstanceOf(SnapshotError);
    const other = await learnerOf("adamw");
    expect(() => other.load(snapshot.state)).toThrow(LearningError);
  });

  test.skipIf(!existsSync(place("python.safetensors")))(
    "goes on where Python left off, and the other way round",
    async () => {
      const learner = await learnerOf("nesterov");
      const golden = await learner.bundle.golden();
      learner.load(await readCheckpoint(await bytes("python.safetensors")));
      const { logits } = await learner.predict(golden.input);
      const off = json<number[]>("python.json").map((value, place) => Math.abs(value - (logits[place] ?? Number.NaN)));
      expect(Math.max(...off)).toBeLessThan(1e-5);
      await learner.learn(golden, { steps: 3, seed: 5 });
      const folder = process.env["MENTEE_WRITTEN"] ?? tmpdir(); // for Python to read
      await writeFile(join(folder, "js.safetensors"), await writeSnapshot(await learner.snapshot()));
      await writeFile(join(folder, "js.json"), JSON.stringify([...(await learner.predict(golden.input)).logits]));
    },
  );

  test("is not to be had of other bundles", async () => {
    const base = await openBundle(place("bundle/base"));
    const none = /no stock graphs, only ones for ONNX Runtime Training: export it again with backend=stock or both/;
    expect((await refusal(Learner.open(base, NODE))).message).toMatch(none);
    const [one, other] = [await learnerOf("adamw"), await learnerOf("nesterov")];
    const snapshot = await one.snapshot();
    expect(() => other.restore(snapshot)).toThrow(LearningError);
    const mixed = { ...snapshot, bundle: other.bundle.manifest.id };
    expect(() => other.restore(mixed)).toThrow(LearningError);
  });

  test("is not to be had of graphs that are not as the manifest says", async () => {
    const files = await filesOf("stock/adamw");
    const manifest = files.get("manifest.json")!;
    const changed = async (edit: (stock: any, content: any) => void): Promise<Error> => {
      files.set("manifest.json", await resealed(manifest, (content) => edit(content.stock, content)));
      const bundle = Bundle.open(new MemorySource("here", files));
      return refusal(bundle.then((one) => Learner.open(one, NODE)));
    };
    const cases: [(stock: any, content: any) => void, RegExp][] = [
      [(stock) => (stock.gradients.file = "stock/forward.onnx"), /the inputs of stock\/forward.onnx differ/],
      [(stock) => stock.gradients.inputs.pop(), /stock.gradients.inputs differ/],
      [(stock) => (stock.state.parameters[1].offset += 1), /is at .*, expected/],
      [(stock) => (stock.state.moments = 1), /stock.optimizer.inputs differ/],
      [(stock) => stock.state.parameters.pop(), /other parameters or statistics/],
      [(_, content) => (content.trainable[1] = "x"), /other parameters or statistics/],
      [(stock) => (stock.forward.inputs[0].shape = [7]), /"parameters" has the shape \[7\], its parts make/],
      [(stock) => (stock.state.parameters.at(-1).shape = [7, 7, 7]), /its parts make/],
      [(stock) => (stock.state.file = "stock/x"), /refers to "stock\/x"/],
    ];
    for (const [edit, why] of cases) {
      const error = await changed(edit);
      expect(error).toBeInstanceOf(BundleError);
      expect(error.message).toMatch(why);
    }
  });
});
