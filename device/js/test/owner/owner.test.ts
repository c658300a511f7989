import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { spawn } from "node:child_process";
import { once } from "node:events";
import * as node from "onnxruntime-node";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";

import { sha256, utf8 } from "../../src/bytes.js";
import type { Samples } from "../../src/bundle/packs.js";
import { SampleError } from "../../src/bundle/preprocess.js";
import { LearningError } from "../../src/learner/learner.js";
import { FolderStorage } from "../../src/node/folder-storage.js";
import { openBundle } from "../../src/node/folder.js";
import { Owner } from "../../src/owner/owner.js";
import type { Plan } from "../../src/owner/record.js";
import { StateError } from "../../src/owner/state.js";
import { camel, renamed } from "../../src/portable/names.js";
import { readState } from "../../src/portable/reading.js";
import { EncryptedStorage } from "../../src/storage/encrypted.js";
import { MemoryStorage } from "../../src/storage/memory.js";
import type { Storage } from "../../src/storage/storage.js";
import { bytes, json, place, refusal } from "../fixtures.js";

const LIFE = existsSync(place("owner.json")) ? json<any>("owner.json") : null;

const MOVED = LIFE && json<any>("moved.json");
const opened: Owner[] = [];
afterEach(async () => {
  for (const owner of opened.splice(0)) await owner.close();
});

async function ownerOf(storage: Storage, bundle = "adamw"): Promise<Owner> {
  const owner = await Owner.open(await openBundle(place("stock", bundle)), node, storage);
  opened.push(owner);
  return owner;
}

async function goldenOf(owner: Owner, from = 0, to?: number): Promise<Samples> {
  const { input, labels } = await owner.bundle.golden();
  const each = input.length / labels.length;
  return { input: input.subarray(from * each, (to ?? labels.length) * each), labels: labels.subarray(from, to) };
}

/** Whether a record lies there as it is. */
function utf8like(content: Uint8Array): boolean {
  return Buffer.from(content).includes("mentee-owner");
}

function planOf(given: object): Plan {
  return { rounds: 0, ...renamed(given, camel) };
}

describe.skipIf(LIFE === null)("an owner", () => {
  let scratch: string;
  beforeAll(async () => void (scratch = await mkdtemp(join(tmpdir(), "mentee-owner-"))));
  afterAll(() => rm(scratch, { recursive: true }));

  test("leads the life that Python leads: the same decisions from the same evidence", async () => {
    const storage = new MemoryStorage();
    let owner = await ownerOf(storage);
    await owner.add(await goldenOf(owner, 0, LIFE.own));
    const lead = async (run: any): Promise<void> => {
      await owner.set(renamed(run.settings, camel));
      const done = await owner.learn(planOf(run.plan));
      expect(done.status).toBe(run.status);
      expect(done.why).toBe(run.why);
      expect(done.number).toBe(run.number);
      expect([done.goldenBase, done.goldenAfter]).toEqual(run.golden);
      expect(done.heldOut).toEqual(run.held_out);
      expect(owner.versions.at(-1)?.plan?.held).toEqual(run.held);
      expect(owner.current).toBe(run.current);
      for (const name of Object.keys(run.first)) {
        expect(Math.abs(done.first[name]! - run.first[name]), name).toBeLessThan(1e-4);
        expect(Math.abs(done.last[name]! - run.last[name]), name).toBeLessThan(1e-4);
      }
      expect(done.share).toBe(run.share);
      owner = await ownerOf(storage); // and after every run the program ends
    };
    for (const run of LIFE.runs) await lead(run);
    const golden = await goldenOf(owner);
    expect([...(await owner.predict(golden.input)).classes]).toEqual(LIFE.classes);
    const open = await goldenOf(owner, ...(LIFE.open as [number, number]));
    await owner.add({ ...open, labels: open.labels.slice().fill(-1) });
    for (const run of LIFE.guessed) await lead(run);
    for (const expected of LIFE.unlearned) {
      const { samples, versions, current, replay } = await owner.unlearn(expected.samples);
      const statuses = owner.versions.map(({ status }) => status);
      const ended = replay && [replay.status, replay.why, replay.steps];
      expect({ samples, versions, current, statuses, replay: ended }).toEqual(expected);
    }
    await owner.enrol("new", (await goldenOf(owner, 70, 73)).input);
    await owner.enrol(owner.bundle.manifest.classes[2]!, (await goldenOf(owner, 60, 61)).input);
    owner = await ownerOf(storage);
    const recognised = await owner.recognise(golden.input, 0.2);
    expect(recognised.names).toEqual(LIFE.names);
    expect([...recognised.classes]).toEqual(LIFE.recognised);
    expect([await owner.rollBack(), [...(await owner.predict(golden.input)).classes]]).toEqual(LIFE.back);
    await owner.reset();
    expect([...(await owner.predict(golden.input)).classes]).toEqual(LIFE.reset);
    expect(owner.log.map(({ kind }) => kind)).toContain("dropped");
  });

  test("learns in one pass, guesses labels and takes them back as Python does", async () => {
    const told = json<any>("labelled.json");
    const owner = await ownerOf(new MemoryStorage());
    await owner.set({ goldenDrop: 1, eceRise: 0.004, replay: "mentor", rounds: 0 });
    const some = await goldenOf(owner, 0, told.own);
    const labels = some.labels.map((label, row) => (row % 5 ? label : -1));
    const plan = { batch: 4, seed: 5, learningRate: 0.02 };
    const passes = await owner.stream({ ...some, labels }, { every: 6, plan });
    expect(passes.map(({ status, why }) => [status, why])).toEqual(told.streamed.map(([...one]) => one.slice(0, 2)));
    for (const [place, { last }] of passes.entries()) {
      for (const [name, value] of Object.entries<number>(told.streamed[place][2])) {
        expect(last[name], name).toBeCloseTo(value, 4);
      }
    }
    expect(new Set(passes.map(({ status }) => status))).toEqual(new Set(["accepted", "dropped"])); // else nothing was heard
    expect(owner.waiting).toEqual(told.waiting);
    await owner.set({ eceRise: null });
    const open = await goldenOf(owner, ...(told.open as [number, number]));
    await owner.add({ ...open, labels: open.labels.map((label, row) => (row % 7 ? -1 : label)) });
    const sources = new Set<string>();
    const compare = (found: readonly object[], expected: any[]): void => {
      expect(found).toEqual(expected.map((one) => ({ ...one, confidence: expect.closeTo(one.confidence, 3) })));
      for (const { source } of expected) sources.add(source);
    };
    for (const [place, { given, found }] of told.rules.entries()) {
      compare(await owner.guess(renamed(given, camel)), found);
      const last = place === told.rules.length - 1;
      await (last ? owner.undoGuesses(undefined, ["near_miss"]) : owner.undoGuesses());
    }
    await owner.guess({ rule: "clusters" });
    await owner.learn({ steps: 4, seed: 2 });
    compare(owner.guesses, told.standing);
    const { replay, ...undone } = await owner.undoGuesses();
    expect(undone).toEqual(told.undone);
    expect(replay && [replay.status, replay.why, replay.steps]).toEqual(told.replay);
    expect([...(await owner.predict((await goldenOf(owner)).input)).classes]).toEqual(told.classes);
    expect([...sources].sort()).toEqual(["cluster", "near_miss", "pseudo", "stream"]);
    expect((await refusal(owner.guess({ window: 4 }))).message).toMatch(/window is 4, expected an odd number/);
    expect((await refusal(owner.undoGuesses([1]))).message).toMatch(/sample 1 has no guessed label/);
  });

  test("lies encrypted, and is lost to no wrong key", async () => {
    const plain = new MemoryStorage();
    const key = crypto.getRandomValues(new Uint8Array(32));
    let owner = await ownerOf(await EncryptedStorage.open(plain, key));
    const some = await goldenOf(owner, 0, 12);
    await owner.add(some);
    await owner.learn({ steps: 2 });
    const { logits } = await owner.predict(some.input);
    const before = await Promise.all((await plain.names()).map((name) => plain.read(name)));
    const first = Buffer.from(some.input.subarray(0, 64));
    expect(before.some((content) => Buffer.from(content!).includes(first) || utf8like(content!))).toBe(false);
    const other = EncryptedStorage.open(plain, new Uint8Array(32));
    expect((await refusal(other)).message).toMatch(/encrypted under another key.*nothing was changed/);
    expect((await refusal(ownerOf(plain))).message).toMatch(/the state is encrypted: open its storage with its key/);
    expect((await refusal(EncryptedStorage.open(plain, new Uint8Array(16)))).message).toMatch(/16 bytes, expected 32/);
    const oneWay = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt"]);
    expect((await refusal(EncryptedStorage.open(plain, oneWay))).message).toMatch(/AES-GCM to encrypt and decrypt/);
    expect(await Promise.all((await plain.names()).map((name) => plain.read(name)))).toEqual(before);
    const record = (await plain.read("state"))!;
    record[record.length >> 1]! ^= 1;
    await plain.write("state", record); // its copy takes its place, as without encryption
    await plain.write((await plain.names())[0]!, new Uint8Array()); // nothing that goes by the key is left of the first piece
    owner = await ownerOf(await EncryptedStorage.open(plain, key));
    expect(owner.log.at(-1)?.kind).toBe("mended");
    expect((await owner.predict(some.input)).logits).toEqual(logits);
    const open = new MemoryStorage();
    await (await ownerOf(open)).add(some);
    expect((await refusal(EncryptedStorage.open(open, key))).message).toMatch(/a state that is not encrypted/);
  });

  test("migrates to a newer bundle as Python's does", async () => {
    const storage = new MemoryStorage();
    const owner = await ownerOf(storage);
    const golden = await goldenOf(owner, 0, 40);
    await owner.set({ goldenDrop: 1, blocked: ["3"], replay: "mentor", rounds: 0 });
    await owner.add(await goldenOf(owner, 0, MOVED.own));
    await owner.learn({ steps: 20, seed: 1, learningRate: 0.01 });
    await owner.add(await goldenOf(owner, ...(MOVED.open as [number, number])));
    await owner.enrol("my cup", (await goldenOf(owner, 70, 72)).input);
    const newer = await openBundle(place("stock", "newer"));
    const { owner: moved, migrated } = await Owner.migrate(newer, node, storage);
    opened.push(moved);
    const { taken, number, aside, statuses, samples, blocked, classes } = MOVED;
    expect(migrated.why.split("; on ")[0]).toBe(MOVED.why);
    expect(migrated).toMatchObject({ taken, number, aside });
    for (const [name, score] of Object.entries<any>(MOVED.scores)) {
      const { golden: right, owner: own, loss } = migrated.scores[name]!;
      expect([right, own]).toEqual([score.golden, score.owner]);
      expect(loss).toBeCloseTo(score.loss, 4);
    }
    expect(moved.versions.map(({ status }) => status)).toEqual(statuses);
    expect(moved.samples.map((one) => [one.number, one.label])).toEqual(samples);
    expect(moved.settings.blocked).toEqual(blocked);
    expect([...(await moved.predict(golden.input)).classes]).toEqual(classes);
    const { last } = await moved.learn({ steps: 6 });
    for (const [name, value] of Object.entries<number>(MOVED.last)) expect(last[name]).toBeCloseTo(value, 3);
    const again = Owner.migrate(newer, node, storage);
    expect((await refusal(again)).message).toMatch(/there is nothing to migrate/);
  });

  test("takes in what another device of its owner learnt, as Python does", async () => {
    const file = await bytes("tablet.state");
    let [owner, limits]: [Owner | null, unknown] = [null, null];
    for (const expected of json<any[]>("merged.json")) {
      if (owner === null || JSON.stringify(expected.limits) !== limits) {
        owner = await ownerOf(new MemoryStorage());
        await owner.set({ goldenDrop: 1, rounds: 0 });
        await owner.add(await goldenOf(owner, 0, 20));
        await owner.learn({ steps: 3, seed: 2, learningRate: 0.01 });
        await owner.set(renamed(expected.limits, camel));
        limits = JSON.stringify(expected.limits);
      }
      const { taken, number, samples, relabelled } = expected;
      const found = await owner.merge(file);
      expect(found).toMatchObject({ taken, number, samples, relabelled });
      for (const [name, score] of Object.entries<any>(expected.scores)) {
        const { golden: right, owner: own, loss } = found.scores[name]!;
        expect([right, own]).toEqual([score.golden, score.owner]);
        expect(loss).toBeCloseTo(score.loss, 4);
      }
      expect(found.why.replace(/\d\.\d{4}/g, "")).toBe(expected.why.replace(/\d\.\d{4}/g, ""));
      const last = owner.versions.find((one) => one.number === number)!;
      expect([last.parent, last.learned]).toEqual([expected.parent, expected.learned]);
      const { input } = await goldenOf(owner, 0, 40);
      expect([...(await owner.predict(input)).classes]).toEqual(expected.classes);
      const { record } = await readState(await owner.exportState(), owner.bundle.manifest, null);
      expect(record.enrolled.map((one) => one.class)).toEqual(expected.enrolled);
    }
  });

  test("goes on with a run that was ended, as if it had not been, and with one that slept", async () => {
    const plan: Plan = { budget: { steps: 12, seconds: 600 }, seed: 2, saveEvery: 4 };
    const now = performance.now.bind(performance);
    let [calls, slept] = [0, 0]; // an hour, between a step's beginning and its end
    const clock = vi
      .spyOn(performance, "now")
      .mockImplementation(() => now() + (calls++ === 9 ? (slept = 3.6e6) : slept));
    const ends = async (storage: Storage, stop?: number): Promise<Float32Array> => {
      let owner = await ownerOf(storage, "nesterov");
      await owner.add(await goldenOf(owner, 0, 24));
      const controller = new AbortController();
      const onProgress = ({ done }: { done: number }): void => (done === stop ? controller.abort() : undefined);
      const done = await owner.learn(plan, { onProgress, signal: controller.signal });
      expect(done.status).toBe(stop === undefined ? "accepted" : "paused");
      if (stop !== undefined) {
        owner = await ownerOf(storage, "nesterov");
        expect(owner.paused?.progress.steps).toBe(stop);
        expect(owner.current).toBe(0);
        expect((await refusal(owner.learn(plan))).message).toMatch(/is unfinished/);
        expect((await owner.resume()).status).toBe("accepted");
      }
      return (await owner.predict((await goldenOf(owner)).input)).logits;
    };
    expect(await ends(new MemoryStorage(), 7)).toEqual(await ends(new MemoryStorage()));
    expect(slept).toBeGreaterThan(0);
    clock.mockRestore();
  });

  test("is as it was or as it was told after a kill at any instant", async () => {
    const folder = join(scratch, "killed");
    const script = new URL("victim.mjs", import.meta.url).pathname;
    let [most, versions] = [0, 0];
    for (let round = 0; round < 8; round++) {
      const victim = spawn(process.execPath, [script, folder, place("stock", "adamw")]);
      let said = "";
      let trouble = "";
      victim.stdout.on("data", (part: Buffer) => (said += part.toString()));
      victim.stderr.on("data", (part: Buffer) => (trouble += part.toString()));
      const ended = once(victim, "close");
      while (victim.exitCode === null && said.split("\n").length < 2 + (round % 5)) {
        await Promise.race([once(victim.stdout, "data"), ended]);
      }
      await new Promise((resolve) => setTimeout(resolve, 7 * round));
      victim.kill("SIGKILL");
      await ended;
      expect(trouble).toBe("");
      const storage = await FolderStorage.open(folder);
      const owner = await ownerOf(storage);
      const [samples, current] = said.trim().split("\n").at(-1)!.split(" ").map(Number) as [number, number];
      expect(owner.samples.length).toBeGreaterThanOrEqual(samples);
      expect(owner.current).toBeGreaterThanOrEqual(current);
      expect(owner.log.some(({ kind }) => kind === "mended")).toBe(false);
      [most, versions] = [owner.samples.length, owner.versions.length];
      if (owner.paused) await owner.discard();
      const records = 3; // and the base
      const pieces = owner.samples.length + owner.versions.filter((one) => one.snapshot).length;
      expect((await storage.names()).length).toBe(records + pieces);
    }
    expect(most).toBeGreaterThan(3); // else nothing was at stake
    expect(versions).toBeGreaterThan(1);
  });

  test("outlives damage to its record, its samples and its versions", async () => {
    const folder = join(scratch, "damaged");
    const storage = await FolderStorage.open(folder);
    let owner = await ownerOf(storage);
    await owner.add(await goldenOf(owner, 0, 12));
    await owner.set({ goldenDrop: 1 });
    await owner.learn({ steps: 4, seed: 0 });
    await owner.learn({ steps: 4 });
    const damage = async (name: string): Promise<void> => {
      const content = (await storage.read(name))!;
      content[content.length >> 1]! ^= 1;
      await storage.write(name, content);
    };
    const golden = await goldenOf(owner);
    const before = (await owner.predict(golden.input)).logits;
    await damage("state");
    owner = await ownerOf(storage);
    expect(owner.log.at(-1)?.kind).toBe("mended");
    expect((await owner.predict(golden.input)).logits).toEqual(before);
    await damage(owner.samples[3]!.piece);
    await owner.learn({ steps: 2 });
    expect(owner.samples).toHaveLength(11);
    await owner.rollBack(2);
    await damage(owner.versions[1]!.snapshot!.piece);
    owner = await ownerOf(storage);
    expect(owner.current).toBe(1);
    expect(owner.versions[1]?.status).toBe("damaged");
    await damage("state");
    await damage("state.copy");
    expect(await refusal(ownerOf(storage))).toBeInstanceOf(StateError);
  });

  test("reads a record of the program before, with a run that waits", async () => {
    const storage = new MemoryStorage();
    let owner = await ownerOf(storage);
    await owner.add(await goldenOf(owner, 0, 12));
    const controller = new AbortController();
    const onProgress = ({ done }: { done: number }): void => (done === 2 ? controller.abort() : undefined);
    await owner.learn({ steps: 5, rounds: 0 }, { onProgress, signal: controller.signal });
    const [, text] = utf8((await storage.read("state"))!).split("\n");
    const { aside: _a, watch: _w, base: _b, settings, samples, versions, ...rest } = JSON.parse(text!);
    const { goldenDrop, classDrop, agreementLeast, blocked, confidenceFloor, replay, ...bounds } = settings;
    const { mostSamples, mostSampleBytes, mostVersions } = bounds;
    const limits = { goldenDrop, classDrop, agreementLeast, blocked, confidenceFloor, replay };
    const before = {
      ...rest,
      format: "mentee-owner/1",
      settings: { ...limits, mostSamples, mostSampleBytes, mostVersions },
      samples: samples.map(({ mentorLogits: _m, confidence: _c, before: _o, ...one }: any) => one),
      versions: versions.map(({ number, parent, status, time, step, learned, plan, progress, why, snapshot }: any) => {
        const { samples, held, batch, replayBatch, ownerWeight, knobs, saveEvery, replay, holdout, budget } = plan;
        const old = { samples, held, batch, replayBatch, ownerWeight, knobs, saveEvery, replay, holdout };
        const about = { number, parent, status, time, step, learned, why, snapshot, done: progress.steps };
        return { ...about, plan: { ...old, steps: budget.steps } };
      }),
    };
    const json = new TextEncoder().encode(JSON.stringify(before));
    const record = new TextEncoder().encode(`${await sha256(json)}\n${JSON.stringify(before)}`);
    for (const name of ["state", "state.copy"]) await storage.write(name, record);
    owner = await ownerOf(storage);
    expect(owner.paused?.progress.steps).toBe(2);
    expect((await owner.resume()).steps).toBe(5);
    await readState(await owner.exportState(), owner.bundle.manifest, null);
  });

  test("stores a sample once, and lets others go at its bounds", async () => {
    const owner = await ownerOf(new MemoryStorage());
    const some = await goldenOf(owner, 0, 4);
    const numbers = await owner.add({ input: some.input, labels: some.labels.slice().fill(-1) });
    expect(await owner.add(some)).toEqual(numbers);
    expect(owner.samples.map(({ label, source }) => [label, source])).toEqual(
      Array.from(some.labels, (label) => [label, "owner"]),
    );
    await owner.add({ input: some.input, labels: some.labels.slice().fill(-1) });
    expect(owner.samples.every(({ source }) => source === "owner")).toBe(true);
    await owner.set({ mostSamples: 5 });
    const more = await goldenOf(owner, 10, 14);
    await owner.add({ input: more.input, labels: more.labels.slice().fill(-1) });
    expect(owner.samples.map(({ number }) => number)).toEqual([1, 2, 3, 4, 8]);
    await owner.remove([1, 2]);
    expect(owner.samples).toHaveLength(3);
  });

  test("refuses what makes no sense, and is as before", async () => {
    const owner = await ownerOf(new MemoryStorage());
    const some = await goldenOf(owner, 0, 4);
    await owner.add(some);
    const wrong: [() => Promise<unknown>, new (message: string) => Error][] = [
      [() => owner.add({ input: some.input.subarray(1), labels: some.labels }), SampleError],
      [() => owner.add(some, { weight: 0 }), SampleError],
      [() => owner.add({ input: new Uint8ClampedArray(some.input) as any, labels: some.labels }), SampleError],
      [() => owner.add({ ...some, labels: undefined } as any), SampleError],
      [() => owner.add({ ...some, labels: Array(some.labels.length).fill(null) } as any), SampleError],
      [() => owner.add({ ...some, input: Float32Array.from(some.input, (pixel) => pixel / 255) }), SampleError],
      [() => owner.predict(Float32Array.from(some.input, (pixel) => pixel / 127.5 - 1)), SampleError],
      [() => owner.predict(some.input.map((pixel) => Number(pixel > 127))), SampleError],
      [() => owner.learn({ step: 3 } as Plan), LearningError],
      [() => owner.learn({ replay: "mentors" } as unknown as Plan), LearningError],
      [() => owner.set({ golden_drop: 0.5 } as any), LearningError],
      [() => Owner.open(owner.bundle, node, "a folder" as any), StateError],
      [() => owner.merge(new ArrayBuffer(8) as any), StateError],
      [() => owner.add(some, { source: "none" }), SampleError],
      [() => owner.learn({ steps: 0 }), LearningError],
      [() => owner.learn({ holdout: 1 }), LearningError],
      [() => owner.learn({ samples: [99] }), LearningError],
      [() => owner.learn({ knobs: { temperature: 0 } }), LearningError],
      [
        () =>
          owner.learn({
            knobs: {
              alpha: [
                [0.5, 1],
                [0.2, 1],
              ],
            },
          }),
        LearningError,
      ],
      [() => owner.learn({ replay: "own", knobs: { beta: 1 } }), LearningError],
      [() => owner.set({ goldenDrop: 2 }), LearningError],
      [() => owner.set({ blocked: ["nobody"] }), LearningError],
      [() => owner.rollBack(7), StateError],
      [() => owner.resume(), LearningError],
      [() => owner.discard(), LearningError],
      [() => owner.enrol("", some.input), SampleError],
    ];
    for (const [ask, kind] of wrong) expect(await refusal(ask())).toBeInstanceOf(kind);
    expect(owner.current).toBe(0);
    expect(owner.samples).toHaveLength(4);
  });

  test("answers nothing from the first moment of a run on, and begins no second one", async () => {
    const owner = await ownerOf(new MemoryStorage());
    const some = await goldenOf(owner, 0, 12);
    await owner.add(some);
    const run = owner.learn({ steps: 2, rounds: 0 });
    const meanwhile = [owner.predict(some.input), owner.learn({ steps: 2 }), owner.add(some)].map(refusal);
    for (const found of await Promise.all(meanwhile)) expect(found.message).toMatch(/a run is going on/);
    expect((await run).number).toBe(1);
    expect(owner.versions).toHaveLength(1);
  });

  test("drops a run whose numbers leave float32", async () => {
    const owner = await ownerOf(new MemoryStorage(), "nesterov");
    const golden = await goldenOf(owner);
    await owner.add(await goldenOf(owner, 0, 12));
    const before = (await owner.predict(golden.input)).logits;
    expect(await refusal(owner.learn({ steps: 20, learningRate: 1e6, knobs: { alpha: 1e9 } }))).toBeInstanceOf(
      LearningError,
    );
    expect(owner.versions.map(({ status }) => status)).toEqual(["dropped"]);
    expect((await owner.predict(golden.input)).logits).toEqual(before);
  });

  test("is one bundle's", async () => {
    const storage = new MemoryStorage();
    await (await ownerOf(storage)).set({ confidenceFloor: 0.5 });
    expect((await refusal(ownerOf(storage, "nesterov"))).message).toMatch(/the state is of bundle/);
  });

  test("answers behind its rails", async () => {
    const owner = await ownerOf(new MemoryStorage());
    const { input } = await goldenOf(owner);
    const classes = [...(await owner.predict(input)).classes];
    const blocked = owner.bundle.manifest.classes[classes[0]!]!;
    await owner.set({ blocked: [blocked] });
    expect([...(await owner.predict(input)).classes]).not.toContain(classes[0]);
    await owner.set({ confidenceFloor: 1 });
    expect(new Set((await owner.predict(input)).classes)).toEqual(new Set([-1]));
  });
});
