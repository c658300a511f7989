import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { json, place } from "../fixtures.js";
import { Browser, CHROMIUM } from "./chromium.js";

const LEARNS = existsSync(place("learning.json"));

describe.skipIf(CHROMIUM === null)("in Chromium", () => {
  let profile: string;
  let browser: Browser;
  beforeAll(async () => {
    profile = await mkdtemp(join(tmpdir(), "mentee-chromium-"));
    browser = await Browser.start(profile);
  });
  afterAll(async () => {
    await browser.close();
    await rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  });

  test("IndexedDB loses nothing when the browser is killed during a save", async () => {
    const script = `
      const { IndexedDbStorage } = await import("/dist/index.js");
      const storage = await IndexedDbStorage.open();
      const before = await storage.read("state");
      const n = before?.[0] ?? 0;
      await say({ before: n, whole: before === undefined || (before.length === 300_000 + n && before.every((one) => one === n)) });
      for (let next = n + 1; ; next++) {
        await storage.write("state", new Uint8Array(300_000 + next).fill(next));
        await say({ acknowledged: next });
      }`;
    let acknowledged = 0;
    for (let round = 0; round < 4; round++) {
      browser.open(script);
      const { before, whole } = await browser.hear((said) => said.before !== undefined);
      expect(whole).toBe(true);
      expect([acknowledged, acknowledged + 1, acknowledged + 2]).toContain(before); // the last that was heard of, or after it
      await browser.hear((said) => said.acknowledged >= before + 3 + round);
      await browser.kill();
      acknowledged = browser.last.acknowledged;
    }
  });

  test.skipIf(!LEARNS)("a mentee is fetched and learns what Python's does, and its owner's state lasts", async () => {
    const { own, labels, steps, seed, terms } = json<Record<string, any>>("learning.json")["adamw"];
    const start = `
      const { IndexedDbStorage, Learner, Owner, fetchBundle } = await import("/dist/index.js");
      const ort = await import("/ort/ort.wasm.min.mjs");
      ort.env.wasm.wasmPaths = "/ort/";
      ort.env.wasm.numThreads = 1;
      const bundle = await fetchBundle("/fixtures/stock/adamw/");
      const golden = await bundle.golden();
      const input = golden.input.subarray(0, ${own} * golden.input.length / golden.labels.length);
      const owner = await Owner.open(bundle, ort, await IndexedDbStorage.open("owner"));`;
    browser.open(`${start}
      const learner = await Learner.open(bundle, ort);
      const losses = [];
      const onProgress = (done, steps, terms) => losses.push(terms.loss);
      await learner.learn({ input, labels: Int32Array.from(${JSON.stringify(labels)}) }, { steps: ${steps}, seed: ${seed}, onProgress });
      await owner.add({ input, labels: golden.labels.subarray(0, ${own}) });
      const { status } = await owner.learn({ steps: 5, seed: 1 });
      const { classes } = await owner.predict(golden.input);
      await say({ losses, status, current: owner.current, classes: [...classes] });`);
    const first = await browser.hear();
    const apart = terms.map((step: any, place: number) => Math.abs(step.loss - first.losses[place]));
    expect(Math.max(...apart)).toBeLessThan(1e-5);
    expect(first).toMatchObject({ status: "accepted", current: 1 });
    await browser.kill();
    browser.open(`${start}
      const { classes } = await owner.predict(golden.input);
      await say({ samples: owner.samples.length, current: owner.current, classes: [...classes] });`);
    expect(await browser.hear()).toEqual({ samples: own, current: 1, classes: first.classes });
    await browser.kill();
  });
});
