import { describe, expect, test } from "vitest";

import { SampleError, preprocess } from "../../src/bundle/preprocess.js";
import { BundleError } from "../../src/bundle/errors.js";
import { readPreprocessing, type Preprocessing } from "../../src/bundle/manifest/parts.js";
import { parseJson, type JsonObject } from "../../src/json.js";
import { samplePixels, type PhotoRules } from "../../src/photo/photo.js";
import { readTensors } from "../../src/tensors/safetensors.js";
import { FIXTURES, bytes, json } from "../fixtures.js";

interface Vector {
  name: string;
  width: number;
  height: number;
  preprocessing: Preprocessing;
  rules: PhotoRules;
}

const RULES: Preprocessing = { shape: [3, 2, 2], mean: [0, 0, 0], std: [1, 1, 1], dtype: "uint8" };

describe.skipIf(FIXTURES === null)("a photo", () => {
  test("becomes the pixels and the tensor that the server has of it", async () => {
    const { tensors } = readTensors(await bytes("photos.safetensors"));
    const vectors = json<Vector[]>("photos.json");
    expect(vectors.length).toBeGreaterThan(10);
    for (const { name, width, height, preprocessing, rules } of vectors) {
      const photo = { width, height, data: tensors.get(`${name} photo`)!.data as Uint8Array };
      const pixels = samplePixels(photo, preprocessing, rules);
      const ready = preprocess(pixels, preprocessing);
      expect(mean(pixels, tensors.get(`${name} exact`)!.data as Uint8Array), name).toBe(0);
      expect(mean(pixels, tensors.get(`${name} pixels`)!.data as Uint8Array), name).toBeLessThan(0.3); // of 255
      const level = 1 / 255 / Math.min(...preprocessing.std);
      expect(mean(ready, tensors.get(`${name} ready`)!.data as Float32Array), name).toBeLessThan(0.3 * level);
    }
  });
});

describe("a photo", () => {
  test("that is no RGBA is refused", () => {
    expect(() => samplePixels({ width: 2, height: 2, data: new Uint8Array(12) }, RULES)).toThrow(/expected RGBA/);
  });

  test("for a bundle of other samples is refused", () => {
    const photo = { width: 2, height: 2, data: new Uint8Array(16) };
    expect(() => samplePixels(photo, { ...RULES, dtype: "float32" })).toThrow(SampleError);
    expect(() => samplePixels(photo, { ...RULES, shape: [2, 2, 2] })).toThrow(SampleError);
    expect(() => samplePixels(photo, RULES, { fit: 1 })).toThrow(/below the sample's/);
  });

  test("goes by the manifest, whose rules are checked", () => {
    const rules = { shape: [3, 2, 2], mean: [0, 0, 0], std: [1, 1, 1] };
    const read = (photo: unknown) => readPreprocessing(parseJson(JSON.stringify({ ...rules, photo })) as JsonObject);
    const made = { fit: "cover", interpolation: "bilinear", ground: 7 };
    const photo = { width: 2, height: 2, data: new Uint8Array(16) };
    expect(new Set(samplePixels(photo, read(made)))).toEqual(new Set([7]));
    const wrong = [
      "cover",
      { ...made, fit: "contain" },
      { ...made, fit: 0 },
      { ...made, fit: 65536 },
      { ...made, fit: true },
      { ...made, interpolation: "mitchell" },
      { ...made, interpolation: ["box"] },
      { ...made, ground: 256 },
      { fit: "cover", interpolation: "box" },
      { ...made, gamma: 2 },
    ];
    for (const one of wrong) expect(() => read(one), JSON.stringify(one)).toThrow(BundleError);
  });

  test("that is transparent lies on the ground", () => {
    const photo = { width: 2, height: 2, data: new Uint8Array(16) };
    expect(new Set(samplePixels(photo, RULES))).toEqual(new Set([128]));
    expect(new Set(samplePixels(photo, RULES, { ground: 0 }))).toEqual(new Set([0]));
  });
});

/** Mean absolute difference; NaN where they are not of one length. */
function mean(one: ArrayLike<number>, other: ArrayLike<number>): number {
  if (one.length !== other.length) return Number.NaN;
  let sum = 0;
  for (let i = 0; i < one.length; i++) sum += Math.abs((one[i] ?? 0) - (other[i] ?? 0));
  return sum / one.length;
}
