import { existsSync } from "node:fs";
import * as node from "onnxruntime-node";
import { afterEach, describe, expect, test } from "vitest";

import type { Samples } from "../../src/bundle/packs.js";
import { SampleError, type Input } from "../../src/bundle/preprocess.js";
import type { Mentor } from "../../src/labels/own-mentor.js";
import { openBundle } from "../../src/node/folder.js";
import { Owner } from "../../src/owner/owner.js";
import { StateError } from "../../src/owner/state.js";
import { MemoryStorage } from "../../src/storage/memory.js";
import { place, refusal } from "../fixtures.js";

const K = 12; // the last two are spare classes without a name
const EACH = 64;
const NONE = { threshold: null }; // nothing by the mentee itself

const opened: Owner[] = [];
afterEach(async () => {
  for (const owner of opened.splice(0)) await owner.close();
});

async function kept(owner: Promise<Owner>): Promise<Owner> {
  opened.push(await owner);
  return owner;
}

async function ownerOf(storage = new MemoryStorage()): Promise<Owner> {
  return kept(Owner.open(await openBundle(place("stock", "spare")), node, storage));
}

/** Of the golden set, unlabelled. */
async function some(owner: Owner, from: number, to: number): Promise<Samples> {
  const { input } = await owner.bundle.golden();
  return { input: input.subarray(EACH * from, EACH * to), labels: new Int32Array(to - from).fill(-1) };
}

/** [N, K], `best` of each row by 3 above all else. */
function logitsFor(best: readonly number[]): Float32Array {
  const logits = new Float32Array(best.length * K);
  best.forEach((place, row) => (logits[row * K + place] = 3));
  return logits;
}

const labels = (owner: Owner): [number, string, number][] =>
  owner.samples.map(({ number, source, label }) => [number, source, label]);

describe.skipIf(!existsSync(place("stock", "spare")))("the mentor's logits of an owner's samples", () => {
  test("are kept beside the samples, and label them", async () => {
    const storage = new MemoryStorage();
    let owner = await ownerOf(storage);
    const logits = logitsFor([4, 1, 7, 11]);
    logits[3 * K + 2] = 1; // the best of the classes that stand for something
    const given = await some(owner, 0, 4);
    const numbers = await owner.add(given, { mentorLogits: logits });
    await owner.add({ ...given, labels: Int32Array.of(-1, 6, -1, -1) }); // what the mentor said stays, the label is the owner's
    await owner.add(await some(owner, 1, 2), { mentorLogits: logitsFor([0]) }); // less trusted than a label: changes nothing
    owner = await ownerOf(storage);
    const found = await owner.guess(NONE);
    expect(found.map(({ number, label, source }) => [number, label, source])).toEqual([
      [numbers[0], 4, "mentor"],
      [numbers[2], 7, "mentor"],
      [numbers[3], 2, "mentor"],
    ]);
    const e = Math.exp;
    expect(found[0]!.confidence).toBeCloseTo(e(3) / (e(3) + 9), 6); // of ten classes
    expect(found[2]!.confidence).toBeCloseTo(e(1) / (e(1) + 9), 6);
    await owner.undoGuesses();
    await owner.add(await some(owner, 0, 1), { mentorLogits: logitsFor([9]) }); // newer ones take their place
    expect((await owner.guess({ ...NONE, mentorThreshold: 0.5 })).map(({ label }) => label)).toEqual([9, 7]);

    const file = await owner.exportState();
    const there = await kept(Owner.importState(file, owner.bundle, node, new MemoryStorage()));
    await there.undoGuesses();
    expect((await there.guess(NONE)).map(({ label }) => label)).toEqual([9, 7, 2]);
    const before = (await storage.names()).length;
    await owner.remove([numbers[0]!]);
    expect((await storage.names()).length).toBe(before - 2); // they go with it
  });

  test("count in the bytes that are stored", async () => {
    const owner = await ownerOf();
    await owner.set({ mostSampleBytes: 3 * (EACH + 4 * K) });
    await owner.add(await some(owner, 0, 4), { mentorLogits: logitsFor([0, 1, 2, 3]) });
    expect(owner.samples.map(({ number }) => number)).toEqual([2, 3, 4]);
  });

  test("that do not fit are refused, and nothing is stored", async () => {
    const owner = await ownerOf();
    const given = await some(owner, 0, 3);
    const holed = logitsFor([0, 1, 2]);
    holed[K + 5] = Number.NaN;
    const wrong: [unknown, RegExp][] = [
      [new Float32Array(3 * 10), /logits are 30 numbers, expected \[3, 12\] in a row.*for 3 samples and 12 classes/],
      [[[1]], /logits are 1 numbers/],
      [7, /logits are no numbers/],
      [holed, /logits of sample 1 have NaN for class 5: expected finite numbers of float32/],
      [Float64Array.from(holed).fill(1e39), /sample 0 have 1e\+39 for class 0/],
      [new Array(3 * K).fill("1"), /sample 0 have 1 for class 0/],
    ];
    for (const [mentorLogits, why] of wrong) {
      const error = await refusal(owner.add(given, { mentorLogits } as object));
      expect(error).toBeInstanceOf(SampleError);
      expect(error.message).toMatch(why);
    }
    expect((await refusal(owner.stream(given, { mentorLogits: logitsFor([1]) } as object))).message).toMatch(
      /12 numbers/,
    );
    expect(owner.samples).toEqual([]);
  });
});

describe.skipIf(!existsSync(place("stock", "spare")))("a mentor of one's own", () => {
  test("is asked about what nobody has labelled, 64 samples at a time", async () => {
    const owner = await ownerOf();
    await owner.add(await some(owner, 0, 2), { mentorLogits: logitsFor([4, 5]) });
    const { input } = await owner.bundle.golden();
    const many = Uint8Array.from({ length: 70 * EACH }, (_, place) => {
      return 255 - (input[place % input.length]! ^ Math.floor(place / input.length)); // no two alike
    });
    await owner.add({ input: many.slice(0, EACH), labels: Int32Array.of(8) });
    await owner.add({ input: many.slice(EACH), labels: new Int32Array(69).fill(-1) });
    const asked: number[][] = [];
    const away: Mentor = (input) => (asked.push([...input.subarray(0, EACH)]), null);
    expect(await owner.guess(NONE, away)).toHaveLength(2); // those that were recorded
    const sizes: number[] = [];
    const mentor: Mentor = async (input) => {
      const N = input.length / EACH;
      sizes.push(N);
      const logits = logitsFor(new Array(N).fill(3));
      if (sizes.length === 1) logits.fill(Number.NaN, 0, K); // one that it was not asked about
      input.fill(0); // a copy
      return [...logits];
    };
    const found = await owner.guess(NONE, mentor);
    expect(sizes).toEqual([64, 5]);
    expect(asked[0]).toEqual([...many.subarray(EACH, 2 * EACH)]);
    expect(found).toHaveLength(68);
    expect(new Set(found.map(({ label, source }) => `${label} ${source}`))).toEqual(new Set(["3 mentor"]));
    expect(labels(owner).slice(0, 4)).toEqual([
      [1, "mentor", 4],
      [2, "mentor", 5],
      [3, "owner", 8],
      [4, "none", -1],
    ]);
  });

  test("does not overrule what the owner says while it thinks", async () => {
    const owner = await ownerOf();
    const given = await some(owner, 0, 2);
    await owner.add(given);
    const slow: Mentor = async () => {
      await owner.add({ input: given.input.subarray(0, EACH), labels: Int32Array.of(9) });
      return logitsFor([1, 2]);
    };
    expect((await owner.guess(NONE, slow)).map(({ number }) => number)).toEqual([2]);
    expect(labels(owner)).toEqual([
      [1, "owner", 9],
      [2, "mentor", 2],
    ]);
  });

  test("that answers once its owner was closed changes nothing of what the next one stored", async () => {
    const storage = new MemoryStorage();
    const owner = await ownerOf(storage);
    await owner.add(await some(owner, 0, 2));
    const late: Mentor = async () => {
      await owner.close();
      const next = await ownerOf(storage);
      await next.add(await some(next, 2, 3));
      return logitsFor([1, 2]);
    };
    const error = await refusal(owner.guess(NONE, late));
    expect(error).toBeInstanceOf(StateError);
    expect(error.message).toMatch(/the owner was closed, and nothing was changed: open it again/);
    expect((await refusal(owner.add(await some(owner, 0, 1), { mentorLogits: logitsFor([0]) }))).message).toMatch(
      /was closed/,
    );
    expect(labels(await ownerOf(storage)).map(([, source]) => source)).toEqual(["none", "none", "none"]);
  });

  test("that answers nonsense labels nothing", async () => {
    const owner = await ownerOf();
    await owner.add(await some(owner, 0, 2));
    const holed = logitsFor([1, 2]);
    holed[K] = Number.POSITIVE_INFINITY;
    const wrong: [unknown, RegExp][] = [
      [
        () => new Float32Array(2 * 10),
        /the mentor answered 20 numbers, expected logits \[2, 12\] in a row, 24, or null/,
      ],
      [async () => undefined, /the mentor answered no numbers/],
      [() => holed, /NaN or Inf, first for sample 1 of 2/],
      [
        () => JSON.parse(JSON.stringify([...logitsFor([1]), ...new Array(K).fill(Number.NaN)])),
        /sample 1 have null for/,
      ],
      [() => "7".repeat(2 * K), /sample 0 have 7 for class 0: expected numbers, NaN where it was not asked/],
      [() => new BigInt64Array(2 * K), /sample 0 have 0 for class 0: expected numbers/],
      [owner, /the mentor is Owner, expected a function/],
      [
        (_: Input) => {
          throw new SampleError("its own trouble");
        },
        /^its own trouble$/,
      ],
    ];
    for (const [mentor, why] of wrong) {
      const error = await refusal(owner.guess(NONE, mentor as Mentor));
      expect(error).toBeInstanceOf(SampleError);
      expect(error.message).toMatch(why);
    }
    expect(labels(owner).every(([, source]) => source === "none")).toBe(true);
  });
});
