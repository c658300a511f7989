// A photo into one raw sample of a bundle: the pixels that the server's data would have of it.
//
// What a canvas gives (ImageData) is turned upright already, as the server turns photos by their EXIF orientation.

import type { Preprocessing } from "../bundle/manifest/parts.js";
import { SampleError } from "../bundle/preprocess.js";
import { resize, type Box, type Image, type Interpolation } from "./resample.js";

/** RGBA, not premultiplied, rows from the top: ImageData is one. */
export interface Photo {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array | Uint8ClampedArray;
}

/** How a photo is brought to a sample's size, over what the manifest says. Where that says nothing it is `data=image_folder`'s way:
 * the central part of the sample's proportions, scaled bilinearly. */
export interface PhotoRules {
  readonly interpolation?: Interpolation;
  /** `cover`: the central part of the sample's proportions. `stretch`: all of it, its proportions changed. A number: the shorter
   * side is scaled to that, then the centre is cut out, as torchvision's Resize and CenterCrop do. */
  readonly fit?: "cover" | "stretch" | number;
  /** Level of gray that transparent pixels are laid on: 128 by default, as on the server. */
  readonly ground?: number;
}

const LUMA = [0.299, 0.587, 0.114].map(Math.fround) as [number, number, number]; // ITU-R BT.601, as Pillow's and torchvision's

/** [C, H, W] uint8 of the bundle's shape, for `preprocess` and the sample store. Throws SampleError. */
export function samplePixels(photo: Photo, bundle: Preprocessing, rules: PhotoRules = {}): Uint8Array<ArrayBuffer> {
  const [channels = 0, height = 0, width = 0] = bundle.shape;
  if (bundle.dtype !== "uint8" || bundle.shape.length !== 3 || (channels !== 1 && channels !== 3)) {
    throw new SampleError(
      `this bundle takes ${bundle.dtype} samples of [${bundle.shape.join(", ")}]: a photo is none of them`,
    );
  }
  const whole = { fit: "cover", interpolation: "bilinear", ground: 128, ...bundle.photo, ...rules } as const;
  const image = fitted(opaque(photo, whole.ground), width, height, whole);
  return channels === 1 ? gray(image) : planes(image);
}

function opaque(photo: Photo, ground: number): Image {
  const { width, height, data } = photo;
  if (!(width >= 1 && height >= 1) || data.length !== 4 * width * height) {
    throw new SampleError(
      `a photo of ${width} × ${height} pixels with ${data.length} bytes: expected RGBA, four a pixel`,
    );
  }
  const rgb = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    const alpha = data[from + 3] ?? 255;
    const behind = ground * (255 - alpha) + 127;
    for (let c = 0; c < 3; c++) rgb[to++] = Math.floor(((data[from + c] ?? 0) * alpha + behind) / 255);
  }
  return { width, height, channels: 3, data: rgb };
}

function fitted(image: Image, width: number, height: number, { fit, interpolation }: Required<PhotoRules>): Image {
  if (fit === "stretch") return resize(image, width, height, interpolation);
  if (fit === "cover") return resize(image, width, height, interpolation, centre(image, width, height));
  const shorter = Math.min(image.width, image.height);
  const [scaledWidth, scaledHeight] = [image.width, image.height].map((side) => Math.trunc((fit * side) / shorter)) as [
    number,
    number,
  ];
  if (scaledWidth < width || scaledHeight < height) {
    throw new SampleError(`a shorter side of ${fit} pixels is below the sample's ${width} × ${height}`);
  }
  const scaled = resize(image, scaledWidth, scaledHeight, interpolation);
  return cut(scaled, halfEven((scaledWidth - width) / 2), halfEven((scaledHeight - height) / 2), width, height);
}

/** The largest central part of the proportions of `width` × `height`. */
function centre(image: Image, width: number, height: number): Box {
  const scale = Math.min(image.width / width, image.height / height);
  const [partWidth, partHeight] = [Math.round(scale * width), Math.round(scale * height)];
  const [left, top] = [Math.floor((image.width - partWidth) / 2), Math.floor((image.height - partHeight) / 2)];
  return { left, top, right: left + partWidth, bottom: top + partHeight };
}

function cut(image: Image, left: number, top: number, width: number, height: number): Image {
  const { channels } = image;
  const data = new Uint8Array(width * height * channels);
  for (let y = 0; y < height; y++) {
    const start = ((top + y) * image.width + left) * channels;
    data.set(image.data.subarray(start, start + width * channels), y * width * channels);
  }
  return { width, height, channels, data };
}

/** [H, W, 3] to [3, H, W]. */
function planes({ width, height, data }: Image): Uint8Array<ArrayBuffer> {
  const size = width * height;
  return Uint8Array.from({ length: 3 * size }, (_, i) => data[(i % size) * 3 + Math.floor(i / size)] ?? 0);
}

/** [H, W, 3] to [1, H, W], in float32 as the server does it. */
function gray({ width, height, data }: Image): Uint8Array<ArrayBuffer> {
  const f = Math.fround;
  return Uint8Array.from({ length: width * height }, (_, i) => {
    const [red, green, blue] = [
      f(LUMA[0] * (data[3 * i] ?? 0)),
      f(LUMA[1] * (data[3 * i + 1] ?? 0)),
      f(LUMA[2] * (data[3 * i + 2] ?? 0)),
    ];
    return halfEven(f(f(red + green) + blue));
  });
}

function halfEven(value: number): number {
  const down = Math.floor(value);
  return value - down === 0.5 ? down + (down % 2) : Math.round(value);
}
