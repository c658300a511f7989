// Scales 8-bit images as Pillow's Image.resize does, whose pixels the mentee was trained on: a filter as wide as the scale, first
// along rows, then along columns, each pass in 22-bit fixed point and rounded to 8 bits. Pillow before 13 gives these very bytes;
// Pillow 13 begins with the columns where that is quicker, and then a few pixels differ by a level.
//
// Axes: H height, W width, C channels, the last the fastest.

import { INTERPOLATIONS } from "../bundle/manifest/parts.js";

export { INTERPOLATIONS };
export type Interpolation = (typeof INTERPOLATIONS)[number];

/** 8-bit pixels [H, W, C]. */
export interface Image {
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  readonly data: Uint8Array;
}

/** A part of an image, in pixels, its edges where it begins and ends. */
export interface Box {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

const PRECISION = 2 ** 22;

/** Widths in pixels of the target that a filter reaches to either side, and its weights at a distance. */
const FILTERS: Readonly<Record<Exclude<Interpolation, "nearest">, readonly [number, (x: number) => number]>> = {
  box: [0.5, (x) => (x > -0.5 && x <= 0.5 ? 1 : 0)],
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  hamming: [1, (x) => (Math.abs(x) >= 1 ? 0 : sinc(x) * (0.54 + 0.46 * Math.cos(Math.PI * x)))],
  bicubic: [2, (x) => cubic(Math.abs(x), -0.5)],
  lanczos: [3, (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0)],
};

/** The part `box` of `image`, `width` × `height`. */
export function resize(
  image: Image,
  width: number,
  height: number,
  interpolation: Interpolation,
  box: Box = whole(image),
): Image {
  const across = rulesOf(image.width, box.left, box.right, width, interpolation);
  const down = rulesOf(image.height, box.top, box.bottom, height, interpolation);
  const first = across === null ? image : passed(image, across, true);
  return down === null ? first : passed(first, down, false);
}

function whole(image: Image): Box {
  return { left: 0, top: 0, right: image.width, bottom: image.height };
}

/** For each place of the target the first place of the source, and weights from there on. null: nothing changes. */
function rulesOf(size: number, from: number, to: number, target: number, interpolation: Interpolation): Rule[] | null {
  if (from === 0 && to === size && target === size) return null;
  const scale = (to - from) / target;
  if (interpolation === "nearest") {
    return Array.from({ length: target }, (_, place) => [
      Math.min(size - 1, Math.floor(from + (place + 0.5) * scale)),
      [PRECISION],
    ]);
  }
  const [reach, weight] = FILTERS[interpolation];
  const stretch = Math.max(1, scale);
  const support = reach * stretch;
  return Array.from({ length: target }, (_, place) => {
    const center = from + (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const last = Math.min(size, Math.trunc(center + support + 0.5));
    const weights = Array.from({ length: last - first }, (_, i) => weight((i + first - center + 0.5) / stretch));
    const sum = weights.reduce((total, one) => total + one, 0);
    return [first, weights.map((one) => roundAway((one / sum) * PRECISION))];
  });
}

type Rule = [number, number[]];

function passed(image: Image, rules: readonly Rule[], across: boolean): Image {
  const { channels: C, data } = image;
  const [width, height] = across ? [rules.length, image.height] : [image.width, rules.length];
  const out = new Uint8Array(width * height * C);
  const step = across ? C : image.width * C; // from one place of the source to the next along the axis that is scaled
  let at = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [first, weights] = rules[across ? x : y] ?? [0, []];
      const start = across ? (y * image.width + first) * C : (first * image.width + x) * C;
      for (let c = 0; c < C; c++) {
        let sum = PRECISION / 2;
        for (let i = 0; i < weights.length; i++) sum += (data[start + i * step + c] ?? 0) * (weights[i] ?? 0);
        out[at++] = Math.min(255, Math.max(0, Math.floor(sum / PRECISION)));
      }
    }
  }
  return { width, height, channels: C, data: out };
}

function roundAway(value: number): number {
  return value < 0 ? Math.trunc(value - 0.5) : Math.trunc(value + 0.5);
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function cubic(x: number, a: number): number {
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}
