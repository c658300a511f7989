// One run of learning as it is asked for, with a default for everything, and with everything decided, as a version stores it.

import { KNOBS } from "../../bundle/manifest/inputs.js";
import { LARGEST } from "../../bundle/manifest/fields.js";
import { heldOut } from "../../guard/holdout.js";
import { LearningError } from "../../learner/learner.js";
import type { Budget, Curve, Done, Plan, ResolvedPlan, Settings, StoredSample } from "../record.js";

export const STEPS = 240; // by default: 40 on the labels, then in each of 5 rounds as many on labels and guesses
export const REPLAYS: readonly Settings["replay"][] = ["own", "mentor", "auto"];
const DEFAULTS = {
  batch: 8,
  replayBatch: 16,
  ownerWeight: 4,
  knobs: {} as NonNullable<Plan["knobs"]>,
  shift: 0,
  saveEvery: 20,
  holdout: 0,
  once: false,
  guessedBatch: 16,
  guessWeight: 1,
};

/** Decides what is open by the settings and the defaults. `learnt`: samples whose label the present mentee has learnt from, so that
 * they are not held out. Throws LearningError for what makes no sense. */
export function resolved(
  plan: Plan,
  settings: Settings,
  stored: readonly StoredSample[],
  learnt: ReadonlySet<number>,
): ResolvedPlan {
  requireNames("part of a plan", plan, [
    ...Object.keys(DEFAULTS),
    "samples",
    "steps",
    "budget",
    "replay",
    "rounds",
    "learningRate",
    "seed",
  ]);
  const whole = { replay: settings.replay, rounds: settings.rounds, ...DEFAULTS, ...plan };
  for (const [name, least] of [
    ["batch", 1],
    ["replayBatch", 0],
    ["shift", 0],
    ["saveEvery", 1],
    ["rounds", 0],
    ["guessedBatch", 1],
  ] as const) {
    if (!Number.isInteger(whole[name]) || whole[name] < least) {
      throw new LearningError(`${name} is ${whole[name]}, expected a whole number of at least ${least}`);
    }
  }
  for (const name of ["ownerWeight", "guessWeight"] as const) {
    if (!(whole[name] > 0 && whole[name] < LARGEST)) {
      throw new LearningError(`${name} is ${whole[name]}, expected a finite number above 0`);
    }
  }
  if (!REPLAYS.includes(whole.replay))
    throw new LearningError(`replay is ${JSON.stringify(whole.replay)}, expected ${REPLAYS.join(", ")}`);
  const wantedBudget = plan.budget ?? (plan.steps === undefined ? null : { steps: plan.steps });
  if (wantedBudget !== null) checkBudget(wantedBudget);
  if (!(whole.holdout >= 0 && whole.holdout < 1))
    throw new LearningError(`holdout is ${whole.holdout}, expected a share below 1`);
  if (typeof whole.once !== "boolean" || (whole.once && whole.holdout))
    throw new LearningError("once is true or false, and nothing is held out of one pass: holdout 0");
  for (const [name, curve] of Object.entries(whole.knobs)) checkCurve(name, curve);
  if (whole.replay === "own" && highestOf(whole.knobs.beta ?? settings.beta ?? 0) > 0) {
    throw new LearningError(
      "beta weighs the mentor's layers, and the base's own answers have none: leave beta out, or set replay to auto or mentor",
    );
  }
  const guessing = whole.rounds > 0 && !whole.once;
  const wanted = plan.samples === undefined ? null : new Set(plan.samples);
  const named = stored.filter(({ number, label }) => wanted?.has(number) ?? (label >= 0 || guessing));
  const labelled = named.filter(({ label }) => label >= 0);
  const held = heldOut(
    labelled.filter(({ source }) => source === "owner"),
    whole.holdout,
    learnt,
  );
  const drawn = named.filter(({ number }) => !held.includes(number));
  const unlabelled = drawn.filter(({ label }) => label < 0).map(({ number }) => number);
  if (!drawn.length || (unlabelled.length === drawn.length && !guessing)) {
    throw new LearningError("nothing to learn from: none of the run's samples has a label");
  }
  const open = unlabelled.length === drawn.length;
  const steps = open ? Math.floor((STEPS * whole.rounds) / (whole.rounds + 1)) : STEPS;
  const { batch, replayBatch, ownerWeight, knobs, shift, saveEvery, replay, holdout, rounds, guessedBatch, once } =
    whole;
  const samples = drawn.map(({ number }) => number);
  const budget = wantedBudget ?? { steps };
  const given = {
    batch,
    replayBatch,
    ownerWeight,
    knobs,
    saveEvery,
    replay,
    holdout,
    rounds,
    guessedBatch,
    guessWeight: whole.guessWeight,
    ...(shift ? { shift } : {}), // without, so that an older program reads it
  };
  return { ...given, samples, held, unlabelled, budget, once };
}

/** The fraction of a run that is over: that of the bound which is nearest; 1 and more ends it. */
export function usedOf({ steps, seconds, samples, joules, watts = 0 }: Budget, done: Done): number {
  const spent = [
    [done.steps, steps],
    [done.seconds, seconds],
    [done.samples, samples],
    [done.seconds * watts, joules],
  ] as const;
  return Math.max(...spent.map(([part, whole]) => (whole === undefined ? 0 : part / whole)));
}

function checkBudget(budget: Budget): void {
  const bounds = Object.entries(budget).filter(([, value]) => value !== undefined);
  for (const [name, value] of bounds) {
    if (!(value > 0 && value < Number.POSITIVE_INFINITY))
      throw new LearningError(`${name} is ${value}, expected a finite number above 0`);
  }
  if (!bounds.length || (budget.joules === undefined) !== (budget.watts === undefined)) {
    throw new LearningError("a budget needs a bound: steps, seconds, samples, or joules with watts");
  }
  if (budget.steps !== undefined && !Number.isInteger(budget.steps))
    throw new LearningError(`steps is ${budget.steps}, expected a whole number`);
}

/** The knob at this fraction of the run; at a jump (one position twice) the later value. */
export function valueAt(curve: Curve, position: number): number {
  if (typeof curve === "number") return curve;
  const after = curve.findIndex(([at]) => at > position);
  if (after <= 0) return curve.at(after)?.[1] ?? 0; // before the first point, or (−1) from the last one on
  const [[from, low], [to, high]] = [curve[after - 1] ?? [0, 0], curve[after] ?? [1, 0]];
  return low + ((position - from) / (to - from)) * (high - low);
}

export function checkCurve(name: string, curve: Curve): void {
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

/** Throws LearningError for a name in `given` that nothing has; one of another program (`golden_drop`) is told ours. */
export function requireNames(what: string, given: object, known: readonly string[]): void {
  for (const name of Object.keys(given)) {
    if (known.includes(name)) continue;
    const meant = name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
    const hint = known.includes(meant) ? `did you mean "${meant}"?` : `there are ${known.join(", ")}`;
    throw new LearningError(`no ${what} "${name}"; ${hint}`);
  }
}

export function highestOf(curve: Curve): number {
  return typeof curve === "number" ? curve : Math.max(...curve.map(([, value]) => value));
}
