import { existsSync } from "node:fs";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { FIXTURES, json, place } from "../fixtures.js";
import { NAMES } from "../runtimes/names.js";
import type { Apart } from "../runtimes/replay.js";
import { Browser, CHROMIUM, WEBGPU, ran } from "./chromium.js";

const LEARNS = existsSync(place("learning.json"));
const STEPS = 50; // recorded
const ALL = process.env["MENTEE_WEBGPU"] === "all"; // each network, all of its steps
const NOT_FINITE = /LearningError: step \d+: loss .*nothing was changed/;

const MENTEE = `const { IndexedDbStorage, Learner, Owner, fetchBundle, readCheckpoint } = await import("/dist/index.js");`;
const runtime = (build: string): string => `
  const ort = await import("/ort/ort.${build}.min.mjs");
  ort.env.wasm.wasmPaths = "/ort/";
  ort.env.wasm.numThreads = 1;`;
const WASM = `${MENTEE}${runtime("wasm")}`;

/** What the script is refused with in the page. */
async function refused(page: Page, script: string): Promise<string> {
  return ran(page, `try { ${script} } catch (error) { return error.name + ": " + error.message; } return "accepted";`);
}

describe.skipIf(CHROMIUM === null)("in Chromium", () => {
  let browser: Browser;
  beforeAll(async () => void (browser = await Browser.start(WEBGPU)));
  afterAll(() => browser.close());

  describe.skipIf(!LEARNS)("a learner", () => {
    let page: Page;
    beforeAll(async () => void (page = await browser.tab()));
    afterAll(() => page.close());

    /** Of each network, how far it is from Python after the first `most` of its recorded batches; and what a step is refused with
     * then that is not finite, and whether it changed anything. */
    async function replayed(
      build: string,
      options: object,
      names: readonly string[] = NAMES,
      most = STEPS,
    ): Promise<[string, Apart, string, boolean][]> {
      return ran(
        page,
        `${MENTEE}${runtime(build)}
        const { replay } = await import("/test/runtimes/replay.ts");
        const fetched = (name) => fetch("/fixtures/runtimes/" + name);
        const batches = (await (await fetched("batches.json")).json()).slice(0, ${most});
        const all = [];
        for (const name of ${JSON.stringify(names)}) {
          const learner = await Learner.open(await fetchBundle("/fixtures/stock/" + name + "/"), ort, ${JSON.stringify(options)});
          const state = await readCheckpoint(new Uint8Array(await (await fetched(name + ".safetensors")).arrayBuffer()));
          const apart = await replay(learner, batches, { ...await (await fetched(name + ".json")).json(), state });
          const vectors = async () => JSON.stringify([...(await learner.snapshot()).state.vectors].map(([name, one]) => [name, [...one]]));
          const before = await vectors();
          const { input, labels } = await learner.bundle.golden();
          const own = { input: input.subarray(0, 4 * 64), labels: labels.subarray(0, 4) };
          const why = await learner.learnBatch(own, null, { knobs: { alpha: 3e38 } }).then(() => "accepted", String);
          all.push([name, apart, why, before === await vectors()]);
          await learner.close();
        }
        return all;`,
      );
    }

    test("learns on wasm what Python does: six networks, every optimizer", async () => {
      for (const [name, { terms, state, logits }, why, same] of await replayed("wasm", {})) {
        expect(terms, name).toBeLessThan(1e-5);
        expect(state, name).toBeLessThan(1e-4);
        expect(logits, name).toBeLessThan(1e-4);
        expect([why, same], name).toEqual([expect.stringMatching(NOT_FINITE), true]);
      }
    });

    // A CPU that plays the card takes ten seconds for the shaders of one network, and half a second a step.
    test.for(ALL ? NAMES : (["everything"] as const))(
      "learns on WebGPU what Python does: %s",
      async (name, context) => {
        const kind: string | undefined = await ran(
          page,
          `return (await navigator.gpu?.requestAdapter())?.info.architecture;`,
        );
        if (kind === undefined) context.skip("this Chromium offers no WebGPU adapter");
        const some = kind === "swiftshader" && !ALL;
        const options = { executionProviders: ["webgpu"] };
        const [found] = await replayed("webgpu", options, [name], some ? 4 : STEPS);
        const [, { terms, state, logits }, why, same] = found!;
        expect(terms).toBeLessThan(1e-5);
        expect([why, same]).toEqual([expect.stringMatching(NOT_FINITE), true]);
        if (some) return; // Python's state is that after the last step
        expect(state).toBeLessThan(1e-4);
        expect(logits).toBeLessThan(1e-4);
      },
    );
  });

  test.skipIf(!LEARNS)("a runtime that cannot start or lacks an operator is told from a bad bundle", async () => {
    const page = await browser.tab();
    const open = `await Learner.open(await fetchBundle("/fixtures/stock/adamw/"), ort, options);`;
    const said = await refused(page, `${WASM} ort.env.wasm.wasmPaths = "/nowhere/"; const options = {}; ${open}`);
    expect(said).toMatch(
      /^RuntimeError: ONNX Runtime cannot start \(.*nowhere.*\): put its .mjs and .wasm files, .*wasmPaths/,
    );
    const webgl = `${MENTEE}${runtime("webgl")} const options = { executionProviders: ["webgl"] };`;
    expect(await refused(page, webgl + open)).toMatch(/^RuntimeError: the runtime has no operator \w+, which stock\//);
    await page.close();
  });

  test.skipIf(FIXTURES === null)("a canvas' pixels become the samples that the server has of the photo", async () => {
    const page = await browser.tab();
    const apart: [string, number][] = await ran(
      page,
      `const { samplePixels, readTensors } = await import("/dist/index.js");
      const fetched = (name) => fetch("/fixtures/" + name);
      const { tensors } = readTensors(new Uint8Array(await (await fetched("photos.safetensors")).arrayBuffer()));
      const drawn = (image, width, height) => {
        const context = new OffscreenCanvas(width, height).getContext("2d");
        image instanceof ImageData ? context.putImageData(image, 0, 0) : context.drawImage(image, 0, 0);
        return context;
      };
      const all = [];
      for (const { name, width, height, preprocessing, rules } of await (await fetched("photos.json")).json()) {
        const given = new ImageData(new Uint8ClampedArray(tensors.get(name + " photo").data), width, height);
        const file = await drawn(given, width, height).canvas.convertToBlob(); // a PNG, as of a camera or a disk
        const photo = drawn(await createImageBitmap(file), width, height).getImageData(0, 0, width, height);
        const pixels = samplePixels(photo, preprocessing, rules);
        const exact = tensors.get(name + " exact").data;
        all.push([name, pixels.reduce((sum, one, i) => sum + Math.abs(one - exact[i]), 0) / exact.length]);
      }
      return all;`,
    );
    expect(apart.length).toBeGreaterThan(10);
    for (const [name, levels] of apart) expect(levels, name).toBeLessThan(1); // mean error below 1/255
    await page.close();
  });

  describe("IndexedDB", () => {
    const open = `const storage = await IndexedDbStorage.open("tabs");`;

    test("is one tab's at a time, and free again once that tab is gone", async () => {
      const [one, other] = [await browser.tab(), await browser.tab()];
      await ran(one, `${MENTEE}${open} await storage.write("a", Uint8Array.of(1)); globalThis.kept = storage;`);
      const asked = [other, one].map((tab) => refused(tab, `${MENTEE}${open}`)); // and once in one; each is patient for a second
      for (const said of await Promise.all(asked)) {
        expect(said).toMatch(/^StorageError: the storage "tabs" is open in another tab or worker/);
      }
      expect(await refused(other, `${MENTEE} await IndexedDbStorage.open("another");`)).toBe("accepted");
      await one.reload();
      await ran(one, `${MENTEE}${open} globalThis.kept = storage;`);
      await one.close();
      expect(await ran(other, `${MENTEE}${open} return [...await storage.read("a")];`)).toEqual([1]);
      await other.close();
    });

    test("that is full says so, and has what it had", async () => {
      const page = await browser.tab();
      const origin = browser.origin.replace("127.0.0.1", "localhost"); // one that stored nothing yet: the browser guesses what is left
      await page.goto(origin);
      const devtools = await page.context().newCDPSession(page);
      await devtools.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 1_000_000 });
      await ran(
        page,
        `${MENTEE} globalThis.kept = await IndexedDbStorage.open(); await kept.write("a", Uint8Array.of(1));`,
      );
      const said = await refused(
        page,
        `await kept.write("a", crypto.getRandomValues(new Uint8Array(60_000)).slice()); for (let n = 0; n < 100; n++) await kept.write("b" + n, new Uint8Array(1_000_000).fill(n));`,
      );
      expect(said).toMatch(
        /^StorageError: IndexedDB cannot be written \(QuotaExceededError.*space in this browser is full, and what was/,
      );
      expect(await ran(page, `return (await kept.read("a")).length;`)).toBe(60_000);
      await page.close();
    });

    test("is refused to a frame that must not store", async () => {
      const page = await browser.tab();
      const said = await ran(
        page,
        `const heard = new Promise((resolve) => addEventListener("message", ({ data }) => resolve(data)));
        const frame = document.createElement("iframe");
        frame.sandbox = "allow-scripts";
        frame.srcdoc = \`<script type="module">
          const { IndexedDbStorage } = await import("${browser.origin}/dist/index.js");
          await IndexedDbStorage.open().then(() => "accepted", (error) => error.name + ": " + error.message)
            .then((said) => parent.postMessage(said, "*"));
        </script>\`;
        document.body.append(frame);
        return heard;`,
      );
      expect(said).toMatch(/^StorageError: .*(must not store|no IndexedDB).*give another storage$/);
      await page.close();
    });

    test("whose data were deleted says so", async () => {
      const page = await browser.tab();
      await ran(
        page,
        `${MENTEE} globalThis.kept = await IndexedDbStorage.open("gone"); indexedDB.deleteDatabase("gone");`,
      );
      const said = await refused(
        page,
        `await new Promise((done) => setTimeout(done, 200)); await kept.write("a", Uint8Array.of(1));`,
      );
      expect(said).toMatch(/^StorageError: IndexedDB cannot be written \(InvalidStateError.*open it again$/);
      await page.close();
    });
  });

  // From here on the browser is killed.

  test.skipIf(!LEARNS)("an owner's state lasts", async () => {
    const { own } = json<Record<string, any>>("learning.json")["adamw"];
    const start = `${WASM}
      const bundle = await fetchBundle("/fixtures/stock/adamw/");
      const golden = await bundle.golden();
      const owner = await Owner.open(bundle, ort, await IndexedDbStorage.open("owner"));`;
    const first = await ran(
      await browser.tab(),
      `${start}
      const input = golden.input.subarray(0, ${own} * golden.input.length / golden.labels.length);
      await owner.add({ input, labels: golden.labels.subarray(0, ${own}) });
      const { status } = await owner.learn({ steps: 5, seed: 1 });
      const { classes } = await owner.predict(golden.input);
      return { status, current: owner.current, classes: [...classes] };`,
    );
    expect(first).toMatchObject({ status: "accepted", current: 1 });
    await browser.kill();
    await browser.restart();
    const again = await ran(
      await browser.tab(),
      `${start}
      const { classes } = await owner.predict(golden.input);
      return { samples: owner.samples.length, current: owner.current, classes: [...classes] };`,
    );
    expect(again).toEqual({ samples: own, current: 1, classes: first.classes });
  });

  test("IndexedDB loses nothing when the browser is killed during a save", async () => {
    const script = `${MENTEE}
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
      const page = await browser.tab();
      let first: { before: number; whole: boolean } | null = null;
      let last = 0;
      let enough = (): void => undefined;
      const heard = new Promise<void>((resolve) => (enough = resolve));
      await page.exposeFunction("say", (said: any) => {
        if (said.before !== undefined) first = said;
        else last = said.acknowledged;
        if (first !== null && last >= first.before + 3 + round) enough();
      });
      ran(page, script).catch(() => undefined); // it dies with the browser
      await heard;
      await browser.kill();
      expect(first!.whole).toBe(true);
      expect([acknowledged, acknowledged + 1, acknowledged + 2]).toContain(first!.before); // the last that was heard of, or after it
      acknowledged = last;
      if (round < 3) await browser.restart();
    }
  });
});
