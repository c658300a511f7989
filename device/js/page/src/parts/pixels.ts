// The 28×28 pixels that a mentee sees, on a small canvas.

import { el } from "./dom.js";

const SIDE = 28;

export function pixels(image: Uint8Array, label: string, className = ""): HTMLCanvasElement {
  const canvas = el("canvas", { width: SIDE, height: SIDE, class: className, role: "img", "aria-label": label });
  const data = new ImageData(SIDE, SIDE);
  image.forEach((value, place) => data.data.set([value, value, value, 255], 4 * place));
  canvas.getContext("2d")?.putImageData(data, 0, 0);
  return canvas;
}
