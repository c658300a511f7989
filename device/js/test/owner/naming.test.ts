import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as node from "onnxruntime-node";
import { afterEach, describe, expect, test } from "vitest";

import type { Bundle } from "../../src/bundle/bundle.js";
import { withNames } from "../../src/bundle/manifest/spare.js";
import { SampleError } from "../../src/bundle/preprocess.js";
import { isClassName } from "../../src/class-name.js";
import { LearningError } from "../../src/learner/learner.js";
import { openBundle } from "../../src/node/folder.js";
import { named } from "../../src/owner/class-names.js";
import { Owner } from "../../src/owner/owner.js";
import { StateError } from "../../src/owner/state.js";
import { readState } from "../../src/portable/reading.js";
import { MemoryStorage } from "../../src/storage/memory.js";
import { bytes, json, place, refusal } from "../fixtures.js";

const LIFE = existsSync(place("naming.json")) ? json<any>("naming.json") : null;

const opened: Owner[] = [];
afterEach(async () => {
  for (const owner of opened.splice(0)) await owner.close();
});

async function kept(owner: Promise<Owner>): Promise<Owner> {
  opened.push(await owner);
  return owner;
}

const bundle = (name = "spare"): Promise<Bundle> => openBundle(place("stock", name));

async function ownerOf(storage = new MemoryStorage()): Promise<Owner> {
  return kept(Owner.open(await bundle(), node, storage));
}

/** Like no digit. */
async function strange(owner: Owner, from = 0, to = 8): Promise<Uint8Array> {
  const { input } = await owner.bundle.golden();
  return (input as Uint8Array).slice(64 * from, 64 * to).map((pixel) => 255 - pixel);
}

async function seen(owner: Owner): Promise<unknown> {
  const { input } = await owner.bundle.golden();
  const odd = await strange(owner);
  return {
    classes: [...owner.classes],
    blocked: owner.settings.blocked,
    current: owner.current,
    samples: owner.samples.map(({ number, label }) => [number, label]),
    golden: [...(await owner.predict(input.subarray(0, 64 * 30))).classes],
    strange: [...(await owner.predict(odd)).classes],
    recognised: [...(await owner.recognise(odd)).classes],
  };
}

async function add(owner: Owner, name: string, from: number, to: number): Promise<void> {
  const label = await owner.nameClass(name);
  await owner.add({ input: await strange(owner, from, to), labels: new Int32Array(to - from).fill(label) });
}

async function learn(owner: Owner, expected: any): Promise<void> {
  const { status, why, last } = await owner.learn({ steps: LIFE.steps, seed: 1, learningRate: 0.02 });
  expect({ status, why }).toEqual({ status: expected.status, why: expected.why });
  for (const [name, value] of Object.entries<number>(expected.last)) expect(last[name], name).toBeCloseTo(value, 4);
}

async function moved(name: string, storage: MemoryStorage): Promise<[Owner, unknown]> {
  const { owner, migrated } = await Owner.migrate(await bundle(name), node, storage, { steps: LIFE.steps });
  await kept(Promise.resolve(owner));
  const { taken, aside } = migrated;
  return [owner, { taken, aside, ...((await seen(owner)) as object) }];
}

describe.skipIf(LIFE === null)("spare classes", () => {
  test("live the life that they live in Python, and travel both ways", async () => {
    const [name, other, last] = LIFE.names as [string, string, string];
    const storage = new MemoryStorage();
    let owner = await ownerOf(storage);
    await owner.set({ goldenDrop: 1, replay: "mentor", rounds: 0, blocked: ["spare 1", "3"] });
    expect(await seen(owner)).toEqual(LIFE.begun);

    const { number, before, run, ...after } = LIFE.named;
    expect(await owner.nameClass(name)).toBe(number);
    expect(await seen(owner)).toEqual(before);
    await owner.set({ blocked: ["3"] });
    await add(owner, name, 0, 4);
    await learn(owner, run);
    await owner.enrol("my cup", await strange(owner, 6, 8));
    const { input, labels } = await owner.bundle.golden();
    await owner.add({ input: input.slice(0, 128), labels: labels.slice(0, 2) });
    expect(await seen(owner)).toEqual(after);
    owner = await ownerOf(storage); // the program ends, and begins again
    expect(await seen(owner)).toEqual(after);

    const { number: same, called, gone, ...left } = LIFE.removed;
    await owner.set({ blocked: ["3", name] });
    expect(await owner.nameClass("toad", 10)).toBe(same);
    expect([owner.classes, owner.settings.blocked]).toEqual(called);
    const { replay, ...unlearned } = await owner.removeClass("toad");
    expect({ ...unlearned, replay: replay && replay.status }).toEqual(gone);
    expect(await seen(owner)).toEqual(left);

    const { runs, ...again } = LIFE.anew;
    await add(owner, other, 0, 3);
    await learn(owner, runs[0]);
    await add(owner, last, 4, 6);
    await learn(owner, runs[1]);
    expect(await seen(owner)).toEqual(again);
    const home = await kept(Owner.importState(await owner.exportState(), await bundle(), node, new MemoryStorage()));
    expect(await seen(home)).toEqual(again);

    const [narrow, on] = await moved("narrow", storage);
    expect(on).toEqual(LIFE.narrow);
    expect(narrow.log.at(-1)?.text).toContain(`it has no spare class for ${last}`);
    await writeFile(join(process.env["MENTEE_WRITTEN"] ?? tmpdir(), "js-narrow.state"), await narrow.exportState());
    const [, back] = await moved("spare", storage);
    expect(back).toEqual(LIFE.back);
  });

  test("of a state of the Python program keep their names, those without room as well", async () => {
    const home = await kept(
      Owner.importState(await bytes("naming", "home.state"), await bundle(), node, new MemoryStorage()),
    );
    const { runs: _, ...expected } = LIFE.anew;
    expect(await seen(home)).toEqual(expected);
    const storage = new MemoryStorage();
    const file = await bytes("naming", "narrow.state");
    const narrow = await kept(Owner.importState(file, await bundle("narrow"), node, storage));
    const { lost_names: lost } = (await readState(await narrow.exportState(), narrow.bundle.manifest, null)).record;
    expect(lost).toEqual([LIFE.names[2]]);
    const [owner, back] = await moved("spare", storage);
    expect(back).toEqual(LIFE.back);
    expect((await owner.removeClass(LIFE.names[2])).samples).toEqual([10, 11]);
  });

  test("come with a merge, unless two devices call one differently", async () => {
    const file = await bytes("naming", "home.state");
    const owner = await ownerOf();
    await owner.set({ goldenDrop: 1 });
    const { taken } = await owner.merge(file);
    const { refused, ...expected } = LIFE.merged;
    expect({ taken, ...((await seen(owner)) as object) }).toEqual(expected);
    const other = await ownerOf();
    await other.nameClass(LIFE.names[2]);
    expect((await refusal(other.merge(file))).message).toMatch(refused);
  });

  test("without a name are neither labelled nor answered nor left alone", async () => {
    const owner = await ownerOf();
    const input = await strange(owner);
    const labels = new Int32Array(8).fill(11);
    const wrong: [() => Promise<unknown>, RegExp, new (message: string) => Error][] = [
      [() => owner.add({ input, labels }), /label 11 of sample 0 is a spare class without a name/, SampleError],
      [() => owner.nameClass(" x"), /class name " x": expected 1 to 100 printable/, SampleError],
      [() => owner.nameClass("3"), /class 3 is called "3" already/, SampleError],
      [() => owner.nameClass("spare 2"), /is called "spare 2" already/, SampleError],
      [() => owner.nameClass("frog", 9), /class 9 is no spare one: expected a number from 10 to 11/, SampleError],
      [() => owner.nameClass("frog", 12), /class 12 is no spare one/, SampleError],
      [() => owner.removeClass("frog"), /there is no class "frog"/, SampleError],
      [() => owner.removeClass(""), /there is no class ""/, SampleError],
      [() => owner.set({ blocked: [..."0123456789"] }), /expected some, not all/, LearningError],
    ];
    for (const [ask, message, kind] of wrong) {
      const error = await refusal(ask());
      expect(error.message).toMatch(message);
      expect(error).toBeInstanceOf(kind);
    }
    expect(await owner.nameClass("frog")).toBe(10);
    expect(await owner.nameClass("frog")).toBe(10);
    expect(await owner.nameClass("toad")).toBe(11);
    expect((await refusal(owner.nameClass("newt"))).message).toMatch(/all 2 spare classes have names, frog, toad/);
    const { manifest } = owner.bundle;
    expect(withNames(manifest, { "spare 2": "3", other: "x" }).classes.slice(10)).toEqual(["spare 1", "spare 2"]);
    expect(() => named({ classes: ["a", "b"], spare: [], names: {} }, "c")).toThrow(/has no spare class to name/);
  });

  test("stay as they were where a state file makes no sense of them", async () => {
    const owner = await ownerOf();
    await owner.nameClass("frog");
    const file = await owner.exportState();
    const { manifest } = await bundle("narrow");
    expect((await refusal(readState(file, manifest, null))).message).toMatch(/belongs to bundle/);
    expect(await refusal(readState(file.slice(0, -1), owner.bundle.manifest, null))).toBeInstanceOf(StateError);
    const none = { ...owner.bundle.manifest, spare: [], names: {} };
    expect((await refusal(readState(file, none, null))).message).toMatch(/names are not of spare classes/);
  });
});

test("a class may be called by an emoji, of whatever version of Unicode", () => {
  for (const name of ["👨‍👩‍👧", "🫨", "❤️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "my cup", "é", "𝒳".repeat(100)])
    expect(isClassName(name), name).toBe(true);
  const wrong = [
    "",
    " a",
    "a\n",
    "a\u00a0b",
    "\u202ea",
    "\u200d",
    "a\u2028b",
    "\ue000",
    "\ud83d",
    "a".repeat(101),
    null,
    7,
  ];
  for (const name of wrong) expect(isClassName(name), String(name)).toBe(false);
});
