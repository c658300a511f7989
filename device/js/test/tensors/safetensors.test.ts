import { describe, expect, test } from "vitest";

import { float16Finite, float16ToFloat32, float32ToFloat16 } from "../../src/tensors/float16.js";
import { NotTensors, readTensors, writeTensors, type Tensor } from "../../src/tensors/safetensors.js";

const TENSORS: [string, Tensor][] = [
  ["bytes", { dtype: "U8", shape: [3], data: Uint8Array.of(1, 2, 3) }],
  ["weights", { dtype: "F32", shape: [2, 2], data: Float32Array.of(0.5, -1, 3e38, 0) }],
  ["labels", { dtype: "I64", shape: [2], data: BigInt64Array.of(-1n, 7n) }],
  ["none", { dtype: "F16", shape: [0, 4], data: new Uint16Array() }],
];

function file(header: string, data: number[] = []): Uint8Array {
  const text = new TextEncoder().encode(header);
  const whole = new Uint8Array(8 + text.length + data.length);
  new DataView(whole.buffer).setBigUint64(0, BigInt(text.length), true);
  whole.set(text, 8);
  whole.set(data, 8 + text.length);
  return whole;
}

describe("safetensors", () => {
  test("what is written is read", () => {
    const written = writeTensors(TENSORS, [["classes", '["a"]']]);
    const { tensors, metadata } = readTensors(written);
    expect(Object.fromEntries(tensors)).toEqual(Object.fromEntries(TENSORS));
    expect([...metadata]).toEqual([["classes", '["a"]']]);
    expect(writeTensors([...TENSORS].reverse(), [["classes", '["a"]']])).toEqual(written);
  });

  test("is read at any place in a buffer", () => {
    const written = writeTensors(TENSORS);
    const shifted = new Uint8Array(written.length + 3);
    shifted.set(written, 3);
    for (const placed of [shifted.subarray(3), Buffer.from(shifted.buffer, 3)]) {
      const read = readTensors(placed).tensors.get("weights")!;
      expect(read.data).toEqual(TENSORS[1]?.[1].data);
      read.data.fill(9 as never);
    }
    expect(shifted.subarray(3)).toEqual(written); // what is read is no part of the file
  });

  const one = (about: string): string => `{"x":${about}}`;
  test.each([
    ["a few bytes", Uint8Array.of(1, 2)],
    ["a header beyond its end", file("{}").subarray(0, 9)],
    ["no JSON", file("{x}")],
    ["no object", file("[]")],
    ["an unknown dtype", file(one('{"dtype":"X","shape":[1],"data_offsets":[0,1]}'), [1])],
    ["a dtype of every object", file(one('{"dtype":"toString","shape":[1],"data_offsets":[0,1]}'), [1])],
    ["another size", file(one('{"dtype":"U8","shape":[2],"data_offsets":[0,1]}'), [1])],
    ["a place beyond its end", file(one('{"dtype":"U8","shape":[2],"data_offsets":[0,2]}'), [1])],
    ["a negative place", file(one('{"dtype":"U8","shape":[2],"data_offsets":[-1,1]}'), [1])],
    ["a hole", file(one('{"dtype":"U8","shape":[1],"data_offsets":[1,2]}'), [1, 2])],
    ["more bytes", file(one('{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'), [1, 2])],
    ["an axis of a half", file(one('{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}'), [1])],
    ["metadata of numbers", file('{"__metadata__":{"a":1}}')],
    [
      "an overlap",
      file(
        '{"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"y":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}',
        [1, 2],
      ),
    ],
  ])("refuses %s", (_, bytes) => {
    expect(() => readTensors(bytes)).toThrow(NotTensors);
  });
});

describe("float16", () => {
  test.each([
    [0x0000, 0],
    [0x3c00, 1],
    [0xc000, -2],
    [0x3555, 0.333251953125],
    [0x7bff, 65504],
    [0x0001, 2 ** -24],
    [0x83ff, -1023 * 2 ** -24],
    [0x0400, 2 ** -14],
    [0x7c00, Number.POSITIVE_INFINITY],
    [0xfc00, Number.NEGATIVE_INFINITY],
    [0x7e00, Number.NaN],
  ])("%i is %f", (half, value) => {
    expect([...float16ToFloat32(Uint16Array.of(half))]).toEqual([value]);
    expect(float16Finite(Uint16Array.of(0, half))).toBe(Number.isFinite(value));
  });

  test("comes back from float32 as it was, and takes the nearest, the even one of two", () => {
    const all = Uint16Array.from({ length: 65536 }, (_, half) => half).filter((half) =>
      float16Finite(Uint16Array.of(half)),
    );
    expect(float32ToFloat16(float16ToFloat32(all))).toEqual(all);
    const positive = all.filter((half) => half < 0x7bff);
    const [low, high] = [float16ToFloat32(positive), float16ToFloat32(positive.map((half) => half + 1))];
    const middle = low.map((value, place) => (value + high[place]!) / 2); // exact in float32
    expect(float32ToFloat16(middle)).toEqual(positive.map((half) => half + (half & 1)));
    const above = middle.map((value) => value * (1 + 2 ** -22));
    expect(float32ToFloat16(above)).toEqual(positive.map((half) => half + 1));
    expect([...float32ToFloat16(Float32Array.of(65519, 65520, -1e30, Number.NaN))]).toEqual([
      0x7bff, 0x7c00, 0xfc00, 0x7e00,
    ]);
  });
});
