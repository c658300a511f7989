// A run taken part of the way: the parameters it began with, and a share of what it changed.
//
// On the straight line between the weights before and after fine-tuning there are often some that keep most of what was gained and
// give back most of what was lost elsewhere (arXiv 2109.01903, where the share is α).

import type { Learner } from "../../learner/learner.js";
import type { Snapshot } from "../../learner/snapshot.js";
import type { Verdict } from "./verdict.js";

const SHARES = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1];

/** Moves `learner` to the largest of `SHARES` of its way from `start` (null: the base) to `end` that `judge` has nothing against;
 * null, and all of the way, where it refuses every one. Moments, step and random state stay those at the end of the way. */
export async function partOfTheWay(
  learner: Learner,
  start: Snapshot | null,
  end: Snapshot,
  judge: () => Promise<Verdict>,
): Promise<[number, Verdict] | null> {
  if (start === null) learner.reset();
  const from = (start ?? (await learner.snapshot())).state.vectors;
  for (const share of SHARES) {
    const vectors = new Map(end.state.vectors);
    for (const name of ["parameters", "statistics"]) {
      const [first, last] = [from.get(name), end.state.vectors.get(name)];
      if (first !== undefined && last !== undefined) vectors.set(name, between(first, last, share));
    }
    learner.restore({ ...end, state: { ...end.state, vectors } });
    const verdict = await judge();
    if (!verdict.reasons.length) return [share, verdict];
  }
  learner.restore(end);
  return null;
}

/** start + share · (end − start), in float32. */
function between(start: Float32Array, end: Float32Array, share: number): Float32Array {
  const [f, part] = [Math.fround, Math.fround(share)];
  return end.map((value, place) => f((start[place] ?? 0) + f(part * f(value - (start[place] ?? 0)))));
}
