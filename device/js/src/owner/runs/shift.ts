// The owner's few images, each moved a little before a step learns from it, so that no pixel's place is learnt by heart.

import type { Input } from "../../bundle/preprocess.js";
import type { Learner } from "../../learner/learner.js";

/** Images of `shape` (C, H, W), each moved by whole pixels, −`most` to `most` down and to the right, as `learner`'s random state draws
 * them; pixels of the edge repeat. What has a height or width of 1 is no image, and stays. */
export function shifted(input: Input, shape: readonly number[], most: number, learner: Learner): Input {
  const [C = 1, H = 1, W = 1] = shape;
  if (!most || shape.length !== 3 || H === 1 || W === 1) return input;
  const drawn = learner.drawWhole(2 * most + 1, (2 * input.length) / (C * H * W));
  return input.map((_, at) => {
    const [x, y, plane] = [at % W, Math.floor(at / W) % H, Math.floor(at / (W * H))];
    const image = Math.floor(plane / C);
    const row = within(y - (drawn[2 * image] ?? 0) + most, H);
    const column = within(x - (drawn[2 * image + 1] ?? 0) + most, W);
    return input[(plane * H + row) * W + column] ?? 0;
  });
}

function within(place: number, size: number): number {
  return Math.min(Math.max(place, 0), size - 1);
}
