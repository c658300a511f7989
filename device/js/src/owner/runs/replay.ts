// Answers for the bundle's replay samples while an owner's mentee learns: the mentor's recorded ones, or what the mentee itself
// answered before it had learnt anything (learning without forgetting, arXiv 1606.09282), where those are known to be better.
//
// The base's answers are logits alone: a layer has no target then, and β is 0.

import type { Supervision } from "../../bundle/packs.js";
import { highestRows } from "../../guard/answers.js";
import { betterBeyondChance } from "../../guard/chance.js";
import { float16ToFloat32, float32ToFloat16 } from "../../tensors/float16.js";
import type { Settings } from "../record.js";

/** The pack that a step with this β draws from. */
export type Answered = (beta: number) => Supervision;

/** `pack` under the answers that `by` names; `own` are the base's logits [N, K]. `auto` is the mentor, unless the base is right on
 * more of the labelled samples by more than chance leaves open, and the mentor in every step where β weighs its layers. */
export function answered(pack: Supervision, by: Settings["replay"], own: Float32Array, K: number): Answered {
  if (by === "mentor" || !pack.samples.labels.length) return () => pack;
  const halves = float32ToFloat16(own);
  const replaced = { ...pack, mentorLogits: halves };
  if (by === "own") return () => replaced;
  const without = baseKnowsMore(pack, halves, K) ? replaced : pack;
  return (beta) => (beta > 0 && pack.activations.size ? pack : without);
}

/** McNemar's exact test of the labelled samples on which one alone is right, two-sided, 95 %. */
function baseKnowsMore(pack: Supervision, own: Uint16Array, K: number): boolean {
  const [mentor, base] = [pack.mentorLogits, own].map((halves) => highestRows(float16ToFloat32(halves), K));
  let [mentors, bases] = [0, 0];
  pack.samples.labels.forEach((label, row) => {
    const [one, other] = [mentor?.[row] === label, base?.[row] === label];
    if (label >= 0 && one && !other) mentors++;
    if (label >= 0 && other && !one) bases++;
  });
  return betterBeyondChance(bases, mentors);
}
