import { readFileSync } from "node:fs";

import { describe, expect, test } from "vitest";

import { strokeImage } from "../../src/strokes/image.js";
import { DrawingError, visible, type PenPoint, type Stroke } from "../../src/strokes/strokes.js";

interface Vector {
  name: string;
  strokes: number[][][];
  image: string[];
}

const VECTORS = JSON.parse(
  readFileSync(new URL("../../../../tests/mentor_mentee/data/strokes/vectors.json", import.meta.url), "utf8"),
) as Vector[];

function points(...stroke: number[][]): PenPoint[] {
  return stroke.map(([x = Number.NaN, y = Number.NaN, pressure]) =>
    pressure === undefined ? { x, y } : { x, y, pressure },
  );
}

function reason(strokes: Stroke[], drawing = {}): string {
  try {
    strokeImage(strokes, drawing);
  } catch (error) {
    return error instanceof DrawingError ? error.reason : String(error);
  }
  return "drawn";
}

describe("the image of pen strokes", () => {
  test.each(VECTORS)("is Python's: $name", ({ strokes, image }) => {
    const found = Buffer.from(strokeImage(strokes.map((stroke) => points(...stroke)))).toString("hex");
    expect(found).toBe(image.join(""));
  });

  test("is refused for drawings that are none", () => {
    expect(reason([])).toBe("empty");
    expect(reason([[]])).toBe("empty");
    expect(reason([points([3, 4])])).toBe("drawn");
    expect(reason([points([3, 4])], { smallest: 8 })).toBe("small");
    expect(reason([points([3, 4], [3, 11])], { smallest: 8 })).toBe("small");
    expect(reason([points([3, 4]), points([11, 4])], { smallest: 8 })).toBe("drawn");
    expect(reason([points([1, Number.NaN])])).toMatch(/stroke 0 has a point that is not finite/);
    expect(reason([points([-1e308, 0], [1e308, 0])])).toMatch(/too far apart/);
    expect(reason([points([-5, 5], [-6, 6])], { canvas: { width: 10, height: 10 } })).toBe("empty");
  });
});

describe("a pen that leaves the canvas", () => {
  const canvas = { width: 100, height: 50 };
  const seen = (...stroke: number[][]) => visible([points(...stroke)], canvas);

  test("draws up to its border", () => {
    expect(seen([10, 10], [30, 10])).toEqual([points([10, 10], [30, 10])]);
    expect(seen([90, 10, 0.2], [110, 10, 0.6])).toEqual([
      [
        { x: 90, y: 10, pressure: 0.2 },
        { x: 100, y: 10, pressure: expect.closeTo(0.4, 12) },
      ],
    ]);
    expect(seen([-20, 25, 1], [20, 25, 1], [20, 30])).toEqual([points([0, 25, 1], [20, 25, 1], [20, 30])]);
  });

  test("and comes back draws two strokes", () => {
    const both = seen([50, 10, 1], [50, -10, 1], [60, -10, 1], [60, 10, 1], [60, 20, 1]);
    expect(both).toEqual([points([50, 10, 1], [50, 0, 1]), points([60, 0, 1], [60, 10, 1], [60, 20, 1])]);
    expect(seen([-50, 10, 1], [150, 10, 1])).toEqual([points([0, 10, 1], [100, 10, 1])]); // right across
  });

  test("and is never on it draws nothing", () => {
    expect(seen([120, 10], [120, 40], [150, 10])).toEqual([]);
    expect(seen([-1, 10])).toEqual([]);
    expect(seen([100, 50])).toEqual([points([100, 50])]); // the border is the canvas' own
  });
});
