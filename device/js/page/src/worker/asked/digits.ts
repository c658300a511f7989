// Digits of a hand: the base against the person's own, on every drawing.

import { softmax } from "../../../../src/index.js";
import type { Answer, Drawing } from "../../shared/messages.js";
import { likeliest } from "./answers.js";
import { imageOf } from "./images.js";
import type { Room } from "../room/room.js";

export async function recogniseDigit(room: Room, drawing: Drawing): Promise<Answer> {
  const image = imageOf("digits", drawing);
  const started = performance.now();
  const { classes } = room.bundle.manifest;
  const { logits } = await room.owner.predict(image);
  const mine = softmax(logits, classes.length);
  const milliseconds = performance.now() - started;
  const base = await (await room.baseMentee()).probabilities(image);
  return { image, top: likeliest(classes, mine), base: likeliest(classes, base), milliseconds };
}

/** Stores a drawing as a digit, and counts who was right on it before anybody learns from it. */
export async function labelDigit(room: Room, drawing: Drawing, name: string): Promise<void> {
  const { image, top, base } = await recogniseDigit(room, drawing);
  const label = room.bundle.manifest.classes.indexOf(name);
  const known = room.owner.samples.length;
  await room.owner.add({ input: image, labels: Int32Array.of(label) });
  if (room.owner.samples.length === known) return; // the very same drawing as one before
  await room.scores.add({ mine: top[0]?.name === name, base: base?.[0]?.name === name });
}
