import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as node from "onnxruntime-node";
import { afterEach, describe, expect, test } from "vitest";

import { sha256, type Bytes } from "../../src/bytes.js";
import type { Bundle } from "../../src/bundle/bundle.js";
import { openBundle } from "../../src/node/folder.js";
import type { Mentor } from "../../src/labels/own-mentor.js";
import { Owner } from "../../src/owner/owner.js";
import { StateError } from "../../src/owner/state.js";
import { readState } from "../../src/portable/reading.js";
import { MemoryStorage } from "../../src/storage/memory.js";
import { bytes, json, place, refusal } from "../fixtures.js";

const THERE = existsSync(place("state", "python.json"));
const SAID = THERE ? json<any>("state", "python.json") : null;
const KEY = Uint8Array.from({ length: 32 }, (_, place) => place);

const opened: Owner[] = [];
afterEach(async () => {
  for (const owner of opened.splice(0)) await owner.close();
});

async function kept(owner: Promise<Owner>): Promise<Owner> {
  opened.push(await owner);
  return owner;
}

async function digest(owner: Owner): Promise<string> {
  const { state } = await owner.learner.snapshot();
  return sha256(new Uint8Array(Float32Array.from(state.vectors.get("parameters")!).buffer));
}

async function seen(owner: Owner): Promise<{ classes: number[]; recognised: number[] }> {
  const { input, labels } = await owner.bundle.golden();
  const some = input.subarray(0, (40 * input.length) / labels.length);
  const [answers, recognised] = [await owner.predict(some), await owner.recognise(some)];
  return { classes: [...answers.classes], recognised: [...recognised.classes] };
}

/** What does not hang on the time of an import. */
async function content(file: Bytes | Uint8Array, bundle: Bundle): Promise<unknown> {
  const { record, parts } = await readState(file, bundle.manifest, null);
  const { log: _, ...rest } = record;
  return [rest, await Promise.all(parts.map(sha256))];
}

describe.skipIf(!THERE)("a state of the Python program", () => {
  const bundle = (): Promise<Bundle> => openBundle(place("stock", "nesterov"));

  test("goes on here as it would have there, and travels on", async () => {
    const file = await bytes("state", "python.state");
    const owner = await kept(Owner.importState(file, await bundle(), node, new MemoryStorage()));
    expect(await digest(owner)).toBe(SAID.current);
    expect(owner.paused?.progress.steps).toBe(SAID.steps);
    expect(await content(await owner.exportState(), owner.bundle)).toEqual(await content(file, owner.bundle));
    const done = await owner.resume();
    expect(done.status).toBe(SAID.status);
    for (const [name, value] of Object.entries<number>(SAID.last)) {
      expect(Math.abs(done.last[name]! - value), name).toBeLessThan(1e-5);
    }
    const { classes, recognised } = SAID;
    expect(await seen(owner)).toEqual({ classes, recognised });
    const folder = process.env["MENTEE_WRITTEN"] ?? tmpdir(); // for Python to read
    const parameters = await digest(owner);
    const golden = await owner.bundle.golden();
    const each = golden.input.length / golden.labels.length;
    const logits = Array.from({ length: 20 }, (_, place) => (place % 11) - 3);
    const two = { input: golden.input.subarray(70 * each, 72 * each), labels: Int32Array.of(-1, -1) };
    const answered = await owner.add(two, { mentorLogits: logits });
    const samples = owner.samples.map(({ number }) => number);
    const versions = owner.versions.map(({ number, status }) => [number, status]);
    await writeFile(join(folder, "js.state"), await owner.exportState(KEY));
    const answers = await seen(owner);
    const { last } = await owner.learn({ steps: 4, rounds: 1 });
    const taken = await owner.observe(golden.input.subarray(10 * each, 40 * each));
    const judged = await owner.anomaly(golden.input.subarray(0, 40 * each));
    const pixels: Mentor = (input) => {
      return [...input].filter((_, place) => place % each >= 20 && place % each < 30); // ten of each image
    };
    const found = await owner.guess({ threshold: null }, pixels);
    const guessed = found.map(({ number, label, source }) => [number, label, source]);
    const { threshold, ...watched } = SAID.watched;
    expect({ taken, anomalous: judged.anomalous }).toEqual(watched);
    expect(judged.threshold).toBeCloseTo(threshold, 5);
    const mentor = { logits: [answered, logits], guessed };
    const told = { keyed: true, parameters, samples, versions, ...answers, last, ...mentor };
    await writeFile(join(folder, "js-state.json"), JSON.stringify(told));
  });

  test("opens under its key alone, and is replaced only when asked to", async () => {
    const [file, plain] = [await bytes("state", "keyed.state"), await bytes("state", "python.state")];
    const storage = new MemoryStorage();
    const import_ = async (given: Uint8Array, options = {}): Promise<Owner> =>
      kept(Owner.importState(given, await bundle(), node, storage, options));
    expect((await refusal(import_(file))).message).toMatch(/is encrypted: its key is needed/);
    expect((await refusal(import_(file, { key: new Uint8Array(32) }))).message).toMatch(/under another key/);
    expect(await storage.names()).toEqual([]);
    const owner = await import_(file, { key: KEY });
    expect(await digest(owner)).toBe(SAID.current);
    const before = await storage.names();
    expect((await refusal(import_(plain))).message).toMatch(/it holds 29 samples and 4 versions/);
    expect(await storage.names()).toEqual(before);
    const again = await import_(plain, { replace: true });
    expect(await digest(again)).toBe(SAID.current);
    expect(again.log.at(-1)?.text).toMatch(/in place of 29 samples/);
    const elsewhere = Owner.importState(plain, await openBundle(place("stock", "adamw")), node, storage);
    expect((await refusal(elsewhere)).message).toMatch(/the file belongs to bundle/);
  });

  test("is refused where Python refuses it, and only there", async () => {
    const { manifest } = await bundle();
    const wrong: string[] = [];
    for (const { path, what, refused } of json<any[]>("state", "mutants", "verdicts.json")) {
      let said: string | null = null;
      try {
        await readState(await bytes("state", "mutants", path), manifest, null);
      } catch (error) {
        if (!(error instanceof StateError)) throw error;
        said = error.message;
      }
      if ((said === null) !== (refused === null)) wrong.push(`${path} ${what}: Python ${refused}, here ${said}`);
    }
    expect(wrong).toEqual([]);
  });
});
