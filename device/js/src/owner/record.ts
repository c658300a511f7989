// What the record of an owner's state says: samples, versions, settings, plans of runs.

import type { Knob } from "../bundle/manifest/inputs.js";
import { LIMITS, type Limits } from "../guard/measures.js";

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
}

export type Source = "owner" | "mentor" | "near_miss" | "stream" | "cluster" | "pseudo" | "none";
export type Status = "candidate" | "accepted" | "dropped" | "pruned" | "damaged";

/** One run's end, or a run under way; `snapshot` where it has one still. */
export interface Version {
  readonly number: number;
  readonly parent: number; // 0: the base
  readonly status: Status;
  readonly time: string;
  readonly step: number;
  readonly learned: readonly number[]; // samples
  readonly plan: ResolvedPlan;
  readonly done: number; // steps of the run
  readonly why: string;
  readonly snapshot: Piece | null;
}

export interface EnrolledSample extends Piece {
  readonly number: number;
  readonly name: string;
  readonly dtype: "uint8" | "float32";
}

export interface Entry {
  readonly time: string;
  readonly kind: string;
  readonly text: string;
}

/** Limits of the guard, rails of the answers, bounds of what is stored. */
export interface Settings extends Limits {
  readonly blocked: readonly string[]; // names of classes that are never answered
  readonly confidenceFloor: number; // probability below which the answer is "don't know"
  readonly replay: "own" | "mentor" | "auto"; // who answers the bundle's samples in a run
  readonly mostSamples: number; // beyond it older ones go
  readonly mostSampleBytes: number;
  readonly mostVersions: number; // accepted ones with a snapshot
}

export const SETTINGS: Settings = {
  ...LIMITS,
  blocked: [],
  confidenceFloor: 0,
  replay: "auto",
  mostSamples: 1000,
  mostSampleBytes: 32 * 2 ** 20,
  mostVersions: 5,
};

/** All of it. */
export interface Content {
  readonly bundle: string;
  readonly change: number;
  readonly samples: readonly StoredSample[];
  readonly versions: readonly Version[];
  readonly current: number; // 0: the base
  readonly next: { readonly sample: number; readonly version: number; readonly enrolled: number };
  readonly enrolled: readonly EnrolledSample[];
  readonly settings: Settings;
  readonly log: readonly Entry[];
}

/** A knob over a run: a number, or points [fraction of the run, value], straight between them and flat outside. */
export type Curve = number | readonly (readonly [number, number])[];

export interface Plan {
  /** Numbers of the samples to draw; all labelled ones by default. */
  readonly samples?: readonly number[];
  readonly steps?: number;
  /** Labelled samples of the owner in a step, and samples of the bundle. */
  readonly batch?: number;
  readonly replayBatch?: number;
  /** Weight of an owner's label; a replayed one weighs 1. */
  readonly ownerWeight?: number;
  readonly knobs?: Partial<Record<Knob, Curve>>;
  readonly saveEvery?: number;
  /** Who answers the bundle's samples: the base, the mentor, or the better of the two. By default the setting. */
  readonly replay?: Settings["replay"];
  /** Share of the owner's labels of each class that judge the run, not learnt from. */
  readonly holdout?: number;
  readonly learningRate?: number;
  readonly seed?: number;
}

/** `held`: numbers of the labelled samples that judge the run. */
export type ResolvedPlan = Required<Omit<Plan, "learningRate" | "seed">> & { readonly held: readonly number[] };
