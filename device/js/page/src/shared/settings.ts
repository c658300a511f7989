// How each room learns, in one place. docs/experiments/strokes.md has what the figures were chosen by.

import type { Plan } from "../../../src/index.js";
import type { RoomName } from "./messages.js";

export interface RoomSettings {
  /** The bundle's file, beside the page. */
  readonly bundle: string;
  /** The storage's name in the browser. */
  readonly storage: string;
  readonly plan: Plan;
  /** Of one correction. */
  readonly correction: Plan;
  /** Without the mentor nothing is replayed, and the run takes so many steps. */
  readonly alone: Plan;
}

const SHAPES: Plan = {
  budget: { steps: 100, seconds: 8 },
  batch: 15,
  replayBatch: 32,
  ownerWeight: 2,
  learningRate: 1.5e-3,
  saveEvery: 30,
  rounds: 0,
};
const DIGITS: Plan = {
  budget: { steps: 240, seconds: 8 },
  batch: 8,
  replayBatch: 16,
  learningRate: 3e-3,
  shift: 2,
  saveEvery: 30,
  rounds: 0,
};

export const ROOMS: Readonly<Record<RoomName, RoomSettings>> = {
  shapes: {
    bundle: "bundles/shapes.zip",
    storage: "mentee-page-shapes",
    plan: SHAPES,
    correction: { ...SHAPES, budget: { steps: 60, seconds: 5 } },
    alone: { ...SHAPES, replayBatch: 0 },
  },
  digits: {
    bundle: "bundles/digits.zip",
    storage: "mentee-page-digits",
    plan: DIGITS,
    correction: DIGITS,
    alone: { ...DIGITS, replayBatch: 0 },
  },
};

/** Drawings of a new shape: at least, and at most. */
export const EXAMPLES = { least: 3, most: 5 } as const;
/** Milliseconds after which a drawing is taken as finished. */
export const PAUSE_MS = 1100;
/** A drawing whose strokes are all within so many CSS pixels is no drawing. */
export const TINY = 6;
