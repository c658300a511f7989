// A drawing, small.

import { sideOf, visible } from "../../../src/strokes/strokes.js";
import type { Drawing } from "../shared/messages.js";
import { TINY } from "../shared/settings.js";
import { el } from "./dom.js";

const SIDE = 112; // device pixels
const LINE = 6;

/** Whether there is enough of it to be seen on its canvas. */
export function isDrawn({ strokes, width, height }: Drawing): boolean {
  return sideOf(visible(strokes, { width, height })) >= TINY;
}

export function sketch({ strokes, width, height }: Drawing, label: string): HTMLCanvasElement {
  const canvas = el("canvas", { width: SIDE, height: SIDE, role: "img", "aria-label": label });
  const brush = canvas.getContext("2d");
  if (brush === null) return canvas;
  const scale = SIDE / Math.max(width, height);
  brush.strokeStyle = "#fff";
  brush.lineWidth = LINE;
  brush.lineCap = brush.lineJoin = "round";
  for (const stroke of strokes) {
    brush.beginPath();
    stroke.forEach(({ x, y }, place) =>
      place ? brush.lineTo(x * scale, y * scale) : brush.moveTo(x * scale, y * scale),
    );
    if (stroke.length === 1) brush.lineTo((stroke[0]?.x ?? 0) * scale, (stroke[0]?.y ?? 0) * scale + 0.1);
    brush.stroke();
  }
  return canvas;
}
