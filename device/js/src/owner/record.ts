// What the record of an owner's state says: samples, versions, settings, plans of runs.

import type { Knob } from "../bundle/manifest/inputs.js";
import type { Preprocessing } from "../bundle/manifest/parts.js";
import type { Names } from "../bundle/manifest/spare.js";
import { LIMITS, type Limits } from "../guard/measures.js";
import type { RandomState } from "../learner/random.js";
import type { Asked } from "./asked.js";

/** Content in the storage. */
export interface Piece {
  readonly piece: string;
  readonly sha256: string;
  readonly bytes: number;
}

/** A stored sample; `source` of its label. */
export interface StoredSample extends Piece {
  readonly number: number;
  readonly time: string;
  readonly source: Source;
  readonly label: number;
  readonly weight: number;
  readonly dtype: "uint8" | "float32";
  readonly mentorLogits: Piece | null; // float32, where the mentor's answer came with it
  readonly confidence: number | null; // of a guessed label
  readonly before: number | null; // the label that a guess took the place of
}

/** A sample that the present base cannot use: its class is none of its own (`name`, "" for an unlabelled one), or it has not its
 * shape or dtype. */
export interface AsideSample extends Omit<StoredSample, "label" | "confidence" | "before"> {
  readonly name: string;
  readonly preprocessing: Preprocessing;
}

/** The mentor's answer to a stored sample, safetensors as online/answers.ts has it. `version`: the newest that there was when it
 * came; runs up to that one do not know it. `open`: its spare classes are the mentor's still, who does not know them. */
export interface StoredAnswer extends Piece {
  readonly number: number;
  readonly version: number;
  readonly open: boolean;
}

export type Source = "owner" | "mentor" | "mentor-online" | "near_miss" | "stream" | "cluster" | "pseudo" | "none";
export type Status = "candidate" | "accepted" | "dropped" | "pruned" | "unlearned" | "damaged" | "superseded";

/** One run's end, or a run under way; `snapshot` where it has one still. */
export interface Version {
  readonly number: number;
  readonly parent: number; // 0: the base
  readonly status: Status;
  readonly time: string;
  readonly bundle: string;
  readonly step: number;
  readonly learned: readonly number[]; // samples
  readonly plan: ResolvedPlan | null; // null: of a run that nobody knows any more
  readonly progress: Done;
  readonly verdict: Readonly<Record<string, unknown>>;
  readonly why: string;
  readonly identity: string; // tells it from any other, on each device that has it; "" of an unfinished run
  readonly snapshot: Piece | null;
  readonly guesses: Readonly<Record<string, number>>; // labels that an unfinished run gave, by sample
}

/** How far a run is: `samples` of the owner were drawn, `round` is that whose guesses it learns from, 0 before the first. */
export interface Done {
  readonly steps: number;
  readonly seconds: number;
  readonly samples: number;
  readonly round: number;
}

export const NOTHING_DONE: Done = { steps: 0, seconds: 0, samples: 0, round: 0 };

export interface EnrolledSample extends Piece {
  readonly number: number;
  readonly name: string;
  readonly dtype: "uint8" | "float32";
}

export interface Entry {
  readonly time: string;
  readonly kind: string;
  readonly text: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** Limits of the guard, rails of the answers, bounds of what is stored. */
export interface Settings extends Limits {
  readonly eceRise: number | null;
  /** Takes a run that breaks a limit part of the way, instead of not at all. */
  readonly interpolate: boolean;
  /** Knobs of every run that names none; null: the bundle's. */
  readonly alpha: Curve | null;
  readonly beta: Curve | null;
  readonly gamma: Curve | null;
  readonly temperature: Curve | null;
  readonly rounds: number; // of guessing missing labels in a run, 0 for none
  readonly blocked: readonly string[]; // names of classes that are never answered
  readonly confidenceFloor: number; // probability below which the answer is "don't know"
  readonly replay: "own" | "mentor" | "auto"; // who answers the bundle's samples in a run
  readonly mostSamples: number; // beyond it older ones go
  readonly mostSampleBytes: number;
  readonly mostVersions: number; // accepted ones with a snapshot
}

export const SETTINGS: Settings = {
  ...LIMITS,
  eceRise: null,
  interpolate: false,
  alpha: null,
  beta: null,
  gamma: null,
  temperature: null,
  rounds: 5,
  blocked: [],
  confidenceFloor: 0,
  replay: "auto",
  mostSamples: 1000,
  mostSampleBytes: 32 * 2 ** 20,
  mostVersions: 5,
};

/** The part of a base that must outlive its bundle: what a newer one needs to know of it. `parameters` is a checkpoint. */
export interface StoredBase {
  readonly classes: readonly string[];
  readonly preprocessing: Preprocessing;
  readonly head: string;
  readonly parameters: Piece;
}

/** What is normal for the owner, observed: rules, progress, and `stored` embeddings [M, size], float32. */
export interface StoredWatch {
  readonly samples: number | null;
  readonly seconds: number | null;
  readonly capacity: number;
  readonly percentile: number;
  readonly neighbours: number;
  readonly seed: number;
  readonly observing: boolean;
  readonly seen: number;
  readonly first: number | null;
  readonly last: number | null;
  readonly ends: number | null;
  readonly random: StoredRandom;
  readonly size: number;
  readonly stored: Piece;
}

/** numpy's state of PCG64; its numbers of 128 bits as text, which JSON's numbers are not exact to. */
export interface StoredRandom {
  readonly state: string;
  readonly inc: string;
  readonly has_uint32: number;
  readonly uinteger: number;
}

export function storedRandom({ state, has_uint32, uinteger }: RandomState): StoredRandom {
  return { state: String(state.state), inc: String(state.inc), has_uint32, uinteger };
}

export function randomOf({ state, inc, has_uint32, uinteger }: StoredRandom): RandomState {
  return { bit_generator: "PCG64", state: { state: BigInt(state), inc: BigInt(inc) }, has_uint32, uinteger };
}

/** All of it. */
export interface Content {
  readonly bundle: string;
  readonly change: number;
  readonly base: StoredBase | null;
  readonly names: Names; // of spare classes
  readonly lostNames: readonly string[]; // that the present base has no class for
  readonly samples: readonly StoredSample[];
  readonly aside: readonly AsideSample[];
  readonly versions: readonly Version[];
  readonly current: number; // 0: the base
  readonly next: { readonly sample: number; readonly version: number; readonly enrolled: number };
  readonly enrolled: readonly EnrolledSample[];
  readonly watch: StoredWatch | null;
  readonly answers: readonly StoredAnswer[]; // by the sample's number
  readonly asked: Asked;
  readonly settings: Settings;
  readonly log: readonly Entry[];
}

/** A knob over a run: a number, or points [fraction of the run, value], straight between them and flat outside. */
export type Curve = number | readonly (readonly [number, number])[];

/** Bounds of a run, which ends at the first that it reaches; joules are watts times measured seconds. */
export interface Budget {
  readonly steps?: number;
  readonly seconds?: number;
  readonly samples?: number;
  readonly joules?: number;
  readonly watts?: number;
}

export interface Plan {
  /** Numbers of the samples to draw; all by default. */
  readonly samples?: readonly number[];
  /** A budget of so many steps; 240 by default, or 200 where nothing has a label. */
  readonly steps?: number;
  readonly budget?: Budget;
  /** Labelled samples of the owner in a step, and samples of the bundle. */
  readonly batch?: number;
  readonly replayBatch?: number;
  /** Weight of an owner's label; a replayed one weighs 1. */
  readonly ownerWeight?: number;
  readonly knobs?: Partial<Record<Knob, Curve>>;
  /** Pixels that an image of the owner is moved by at most, anew in each step; 0 by default. */
  readonly shift?: number;
  readonly saveEvery?: number;
  /** Who answers the bundle's samples: the base, the mentor, or the better of the two. By default the setting. */
  readonly replay?: Settings["replay"];
  /** Share of the owner's labels of each class that judge the run, not learnt from. */
  readonly holdout?: number;
  /** Takes the labelled samples in order, each in one step only, and guesses nothing. */
  readonly once?: boolean;
  /** Rounds of guessing the labels that are missing: before each the groups that the mentee sees label them anew. By default the
   * setting. */
  readonly rounds?: number;
  /** Samples with a guessed label in a step, 16, and the weight of such a label, 1 as an owner's. */
  readonly guessedBatch?: number;
  readonly guessWeight?: number;
  readonly learningRate?: number;
  readonly seed?: number;
}

/** `held`: numbers of the labelled samples that judge the run; `unlabelled`: which of `samples` had no label when it began; `once`:
 * the labelled samples in order, each in one step only. */
export type ResolvedPlan = Required<Omit<Plan, "learningRate" | "seed" | "steps" | "shift">> & {
  readonly shift?: number;
  readonly held: readonly number[];
  readonly unlabelled: readonly number[];
  readonly once: boolean;
};
