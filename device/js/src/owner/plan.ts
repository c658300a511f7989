// One run of learning as it is asked for, with a default for everything, and with everything decided, as a version stores it.

import { KNOBS } from "../bundle/manifest/inputs.js";
import { LARGEST } from "../bundle/manifest/fields.js";
import { heldOut } from "../guard/holdout.js";
import { LearningError } from "../learner/learner.js";
import type { Curve, Plan, ResolvedPlan, Settings, StoredSample } from "./record.js";

const DEFAULTS: Omit<Required<Plan>, "samples" | "replay" | "learningRate" | "seed"> = {
  steps: 240,
  batch: 8,
  replayBatch: 16,
  ownerWeight: 4,
  knobs: {},
  saveEvery: 20,
  holdout: 0,
};

/** Decides what is open by the settings and the defaults. `learnt`: samples whose label the present mentee has learnt from, so that
 * they are not held out. Throws LearningError for what makes no sense. */
export function resolved(
  plan: Plan,
  settings: Settings,
  stored: readonly StoredSample[],
  learnt: ReadonlySet<number>,
): ResolvedPlan {
  const whole = { replay: settings.replay, ...DEFAULTS, ...plan };
  for (const [name, least] of [
    ["steps", 1],
    ["batch", 1],
    ["replayBatch", 0],
    ["saveEvery", 1],
  ] as const) {
    if (!Number.isInteger(whole[name]) || whole[name] < least) {
      throw new LearningError(`${name} is ${whole[name]}, expected a whole number of at least ${least}`);
    }
  }
  if (!(whole.ownerWeight > 0 && whole.ownerWeight < LARGEST)) {
    throw new LearningError(`ownerWeight is ${whole.ownerWeight}, expected a finite number above 0`);
  }
  if (!(whole.holdout >= 0 && whole.holdout < 1))
    throw new LearningError(`holdout is ${whole.holdout}, expected a share below 1`);
  for (const [name, curve] of Object.entries(whole.knobs)) checkCurve(name, curve);
  if (whole.replay === "own" && highestOf(whole.knobs.beta ?? 0) > 0) {
    throw new LearningError(
      "beta weighs the mentor's layers, and the base's own answers have none: leave beta out, or set replay to auto or mentor",
    );
  }
  const wanted = plan.samples === undefined ? null : new Set(plan.samples);
  const labelled = stored.filter(({ number, label }) => label >= 0 && (wanted?.has(number) ?? true));
  const held = heldOut(
    labelled.filter(({ source }) => source === "owner"),
    whole.holdout,
    learnt,
  );
  const samples = labelled.map(({ number }) => number).filter((number) => !held.includes(number));
  if (!samples.length) throw new LearningError("nothing to learn from: none of the run's samples has a label");
  const { steps, batch, replayBatch, ownerWeight, knobs, saveEvery, replay, holdout } = whole;
  return { samples, held, steps, batch, replayBatch, ownerWeight, knobs, saveEvery, replay, holdout };
}

/** The knob at this fraction of the run; at a jump (one position twice) the later value. */
export function valueAt(curve: Curve, position: number): number {
  if (typeof curve === "number") return curve;
  const after = curve.findIndex(([at]) => at > position);
  if (after <= 0) return curve.at(after)?.[1] ?? 0; // before the first point, or (−1) from the last one on
  const [[from, low], [to, high]] = [curve[after - 1] ?? [0, 0], curve[after] ?? [1, 0]];
  return low + ((position - from) / (to - from)) * (high - low);
}

function checkCurve(name: string, curve: Curve): void {
  if (!KNOBS.some((knob) => knob === name)) throw new LearningError(`no knob "${name}"; there are ${KNOBS.join(", ")}`);
  const points = typeof curve === "number" ? [[0, curve] as const] : curve;
  const rising = points.every(([at], place) => at >= (points[place - 1]?.[0] ?? 0) && at <= 1);
  const fits = points.every(([, value]) => value >= 0 && value <= LARGEST && (name !== "temperature" || value > 0));
  if (!points.length || !rising || !fits) {
    throw new LearningError(
      `${name} is ${JSON.stringify(curve)}, expected a finite number of at least 0 (temperature: above), or points ` +
        "[fraction of the run, value] in rising order",
    );
  }
}

function highestOf(curve: Curve): number {
  return typeof curve === "number" ? curve : Math.max(...curve.map(([, value]) => value));
}
