// From a drawing to the 28×28 pixels that a room's mentee takes.

import { strokeImage } from "../../../../src/index.js";
import type { Drawing, RoomName } from "../../shared/messages.js";
import { TINY } from "../../shared/settings.js";

const SIDE = 28;

/** Throws DrawingError for one that is empty or tiny. */
export function imageOf(room: RoomName, { strokes, width, height }: Drawing): Uint8Array<ArrayBuffer> {
  const image = strokeImage(strokes, { canvas: { width, height }, smallest: TINY });
  return room === "digits" ? centred(image) : image;
}

/** Moved by whole pixels so that the middle of its ink is the middle of the image, as in MNIST; what leaves the image is cut off. */
export function centred(image: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  let [ink, x, y] = [0, 0, 0];
  image.forEach((value, place) => {
    ink += value;
    x += value * (place % SIDE);
    y += value * Math.floor(place / SIDE);
  });
  const [right, down] = [x, y].map((sum) => Math.round((SIDE - 1) / 2 - sum / ink)) as [number, number];
  const moved = new Uint8Array(image.length);
  image.forEach((value, place) => {
    const [column, row] = [(place % SIDE) + right, Math.floor(place / SIDE) + down];
    if (column >= 0 && column < SIDE && row >= 0 && row < SIDE) moved[row * SIDE + column] = value;
  });
  return moved;
}
