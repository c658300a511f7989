// The 28×28 image of pen strokes, by the rule of docs/data.md, "From strokes to the image": Python's `image_of`, byte for byte.
//
// In float64, with nothing but + − × / and square roots.

import { SampleError } from "../bundle/preprocess.js";
import { DrawingError, pressureOf, sideOf, visible, type Canvas, type Stroke } from "./strokes.js";

const SIDE = 28; // pixels of the image
const BOX = 20; // pixels of the longer side of a drawing
const [THINNEST, THICKER] = [0.6, 1.2]; // the pen's radius in pixels, and what full pressure adds

export interface Drawing {
  /** Leaves out what lies beyond it. Without one every point counts, as in Python. */
  readonly canvas?: Canvas;
  /** The least length of the longer side of what is drawn, on the points' own scale: 0 by default, where a dot is a drawing. */
  readonly smallest?: number;
}

interface End {
  readonly x: number;
  readonly y: number;
  readonly r: number;
}

/** [28 · 28] of the drawing, rows from the top, white on black: a raw sample of a bundle of the pen strokes. Throws DrawingError
 * for one that is empty or too small, SampleError for points that are no finite numbers. */
export function strokeImage(strokes: readonly Stroke[], drawing: Drawing = {}): Uint8Array<ArrayBuffer> {
  const { canvas, smallest = 0 } = drawing;
  for (const [place, stroke] of strokes.entries()) requireFinite(stroke, place);
  const drawn = (canvas === undefined ? strokes : visible(strokes, canvas)).filter((stroke) => stroke.length);
  if (!drawn.length) throw new DrawingError("empty", "nothing is drawn: draw one stroke at least");
  const side = sideOf(drawn);
  if (side < smallest) {
    throw new DrawingError(
      "small",
      `the drawing is ${Number(side.toFixed(1))} wide and high: draw it ${smallest} or larger`,
    );
  }
  const image = new Uint8Array(SIDE * SIDE);
  for (const stroke of placed(drawn)) {
    stroke.forEach((to, place) => {
      if (place || stroke.length === 1) cover(image, stroke[place - 1] ?? to, to);
    });
  }
  return image;
}

/** Points in pixels of the image, with the pen's radius there. */
function placed(strokes: readonly Stroke[]): End[][] {
  const [xs, ys] = [strokes.flat().map(({ x }) => x), strokes.flat().map(({ y }) => y)];
  const [x0, x1, y0, y1] = [least(xs), most(xs), least(ys), most(ys)];
  const side = Math.max(x1 - x0, y1 - y0);
  const scale = side > 0 ? BOX / side : 0;
  const [middleX, middleY] = [(x0 + x1) / 2, (y0 + y1) / 2];
  if (![side, scale, middleX, middleY].every(Number.isFinite)) {
    throw new SampleError("points of the drawing lie too far apart, or too close, to be scaled: give a canvas' pixels");
  }
  return strokes.map((stroke) =>
    stroke.map((point) => ({
      x: (point.x - middleX) * scale + SIDE / 2,
      y: (point.y - middleY) * scale + SIDE / 2,
      r: THINNEST + THICKER * pressureOf(point),
    })),
  );
}

/** Draws from `a` to `b`: each pixel is the lightest of what was there and what the pen covers of it. */
function cover(image: Uint8Array, a: End, b: End): void {
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const length = dx * dx + dy * dy;
  const reach = Math.max(a.r, b.r) + 0.5;
  const [left, right] = [first(Math.min(a.x, b.x) - reach), last(Math.max(a.x, b.x) + reach)];
  const [top, bottom] = [first(Math.min(a.y, b.y) - reach), last(Math.max(a.y, b.y) + reach)];
  for (let row = top; row < bottom; row++) {
    for (let column = left; column < right; column++) {
      const [qx, qy] = [column + 0.5 - a.x, row + 0.5 - a.y];
      const t = Math.min(Math.max((qx * dx + qy * dy) / (length > 0 ? length : 1), 0), 1);
      const [ox, oy] = [qx - t * dx, qy - t * dy];
      const covered = a.r + t * (b.r - a.r) - Math.sqrt(ox * ox + oy * oy) + 0.5;
      const value = Math.floor(255 * Math.min(Math.max(covered, 0), 1) + 0.5);
      const place = row * SIDE + column;
      image[place] = Math.max(image[place] ?? 0, value);
    }
  }
}

function first(edge: number): number {
  return Math.max(0, Math.floor(edge));
}

function last(edge: number): number {
  return Math.min(SIDE, Math.ceil(edge));
}

function least(values: readonly number[]): number {
  return values.reduce((one, other) => Math.min(one, other), Infinity);
}

function most(values: readonly number[]): number {
  return values.reduce((one, other) => Math.max(one, other), -Infinity);
}

function requireFinite(stroke: Stroke, place: number): void {
  const whole = stroke.every(({ x, y, pressure = 0 }) => [x, y, pressure].every(Number.isFinite));
  if (!whole)
    throw new SampleError(`stroke ${place} has a point that is not finite: expected x, y and pressure as numbers`);
}
