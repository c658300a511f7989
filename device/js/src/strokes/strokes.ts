// What a pen drew, and what of it can be seen: points on a canvas, before they become an image.

import { SampleError } from "../bundle/preprocess.js";

/** y downwards, on any scale; `pressure` 0 to 1, .5 where there is none. A PointerEvent's offsetX, offsetY and pressure are one. */
export interface PenPoint {
  readonly x: number;
  readonly y: number;
  readonly pressure?: number;
}

/** The points from pen down to pen up. */
export type Stroke = readonly PenPoint[];

export interface Canvas {
  readonly width: number;
  readonly height: number;
}

/** A drawing that is no sample: `empty` has nothing to see, `small` is smaller than was asked for. */
export class DrawingError extends SampleError {
  constructor(
    readonly reason: "empty" | "small",
    message: string,
  ) {
    super(message);
  }
}

const MEDIUM = 0.5;

/** The pressure that is drawn with: clipped, and `MEDIUM` where there is none. */
export function pressureOf({ pressure = MEDIUM }: PenPoint): number {
  return Math.min(Math.max(pressure, 0), 1);
}

/** The longer side of the box around all points; 0 where they are one, or none. */
export function sideOf(strokes: readonly Stroke[]): number {
  let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const { x, y } of strokes.flat()) {
    [left, right] = [Math.min(left, x), Math.max(right, x)];
    [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
  }
  return left > right ? 0 : Math.max(right - left, bottom - top);
}

/** What of `strokes` lies on `canvas`, its border included: a pen that leaves it and comes back draws two strokes. Pressure at the
 * border is between that of both points. */
export function visible(strokes: readonly Stroke[], { width, height }: Canvas): Stroke[] {
  return strokes.flatMap((stroke) => {
    const seen: PenPoint[][] = [];
    let open = false; // whether the last stroke of `seen` goes on at the next point
    stroke.forEach((to, place) => {
      const span = inside(stroke[place - 1] ?? to, to, width, height);
      if (span === null) {
        open = false;
        return;
      }
      const [start, end] = span;
      const from = stroke[place - 1];
      if (!open) seen.push(from === undefined ? [] : [between(from, to, start)]);
      if (from === undefined || end > 0) seen.at(-1)?.push(from === undefined ? to : between(from, to, end));
      open = end === 1;
    });
    return seen;
  });
}

/** From where to where, 0 to 1, the way from `a` to `b` lies on the canvas; null where it does not (Liang and Barsky). */
function inside(a: PenPoint, b: PenPoint, width: number, height: number): readonly [number, number] | null {
  let [start, end] = [0, 1];
  for (const [from, step, most] of [
    [a.x, b.x - a.x, width],
    [a.y, b.y - a.y, height],
  ] as const) {
    if (step === 0) {
      if (from < 0 || from > most) return null;
      continue;
    }
    const [one, other] = [-from / step, (most - from) / step];
    start = Math.max(start, Math.min(one, other));
    end = Math.min(end, Math.max(one, other));
  }
  return start > end ? null : [start, end];
}

function between(a: PenPoint, b: PenPoint, t: number): PenPoint {
  if (t === 0) return a;
  if (t === 1) return b;
  const [from, to] = [pressureOf(a), pressureOf(b)];
  return { x: a.x + t * (b.x - a.x), y: a.y + t * (b.y - a.y), pressure: from + t * (to - from) };
}
