import { describe, expect, test } from "vitest";

import { Random } from "../../src/learner/random.js";
import { FIXTURES, json } from "../fixtures.js";

interface Draws {
  seed: string;
  draws: [number, number, number[]][];
  state: { state: string; inc: string; has_uint32: number; uinteger: number };
  order: [number[], number];
  counts: number[][];
}

describe.skipIf(FIXTURES === null)("Random", () => {
  test("draws as numpy does, from seeds of any size", () => {
    for (const { seed, draws, state, order, counts } of json<Draws[]>("random.json")) {
      const random = Random.seeded(BigInt(seed));
      for (const [count, size, expected] of draws) expect([...random.choice(count, size)], seed).toEqual(expected);
      const { state: numbers, ...rest } = random.state;
      const seen = { ...rest, state: String(numbers.state), inc: String(numbers.inc) };
      expect(seen).toEqual({ bit_generator: "PCG64", ...state });
      const places = Int32Array.from({ length: 17 }, (_, place) => place);
      expect([[...random.permutation(places)], random.integer(1000)]).toEqual(order);
      for (const expected of counts) expect([...random.multinomial(expected.length)], seed).toEqual(expected);
    }
  });
});

describe("Random", () => {
  test("goes on from its state", () => {
    const random = Random.seeded(3);
    random.choice(10, 3);
    const { state } = random;
    const drawn = [...random.choice(1000, 50)];
    expect([...Random.from(state).choice(1000, 50)]).toEqual(drawn);
    expect(new Set(drawn).size).toBe(50);
  });

  test.each([
    { bit_generator: "MT19937" as "PCG64" },
    { state: { state: -1n, inc: 1n } },
    { state: { state: 2n ** 128n, inc: 1n } },
    { uinteger: 2 ** 32 },
  ])("refuses %o for a state", (wrong) => {
    expect(() => Random.from({ ...Random.seeded(0).state, ...wrong })).toThrow(RangeError);
  });
});
