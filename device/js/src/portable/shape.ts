// The record of an exported state as JSON has it. What refers to a part of the file is the part's number.

import type { Names } from "../bundle/manifest/spare.js";

export type Dtype = "uint8" | "float32";

export interface FileSample {
  readonly number: number;
  readonly time: string;
  readonly source: string;
  readonly weight: number;
  readonly dtype: Dtype;
  readonly input: number;
  readonly mentor_logits: number | null;
}

export interface FileSnapshot {
  readonly learning_rate: number;
  readonly random: FileRandom;
  readonly taken: number;
  readonly vectors: Readonly<Record<string, number>>;
}

export interface FileRandom {
  readonly state: string;
  readonly inc: string;
  readonly has_uint32: number;
  readonly uinteger: number;
}

export interface FileVersion {
  readonly number: number;
  readonly parent: number;
  readonly status: string;
  readonly time: string | null;
  readonly bundle: string;
  readonly step: number;
  readonly learned: readonly number[];
  readonly plan: Readonly<Record<string, unknown>>;
  readonly progress: Readonly<Record<string, number>>;
  readonly verdict: Readonly<Record<string, unknown>>;
  readonly why: string;
  readonly identity: string;
  readonly snapshot: FileSnapshot | null;
  readonly guesses: Readonly<Record<string, number>>;
}

export interface FileWatch {
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
  readonly random: FileRandom;
  readonly size: number;
  readonly stored: number;
}

export interface FileAnswer {
  readonly number: number;
  readonly version: number;
  readonly mentor_logits: number;
  readonly activations: Readonly<Record<string, number>>;
}

export interface FilePreprocessing {
  readonly shape: readonly number[];
  readonly mean: readonly number[];
  readonly std: readonly number[];
  readonly dtype: Dtype;
}

/** The record as JSON has it. */
export interface FileRecord {
  readonly layout: Readonly<Record<"parameters" | "statistics", readonly (readonly [string, readonly number[]])[]>>;
  readonly current: number;
  readonly next: { readonly sample: number; readonly version: number; readonly enrolled: number };
  readonly samples: readonly (FileSample & {
    readonly label: number;
    readonly confidence: number | null;
    readonly before: number | null;
  })[];
  readonly aside: readonly (FileSample & { readonly class: string; readonly preprocessing: FilePreprocessing })[];
  readonly enrolled: readonly {
    readonly number: number;
    readonly class: string;
    readonly dtype: Dtype;
    readonly input: number;
  }[];
  readonly versions: readonly FileVersion[];
  readonly settings: Readonly<Record<string, unknown>>;
  readonly log: readonly {
    readonly time: string | null;
    readonly event: string;
    readonly line: string;
    readonly details: Readonly<Record<string, unknown>>;
  }[];
  readonly watch: FileWatch | null;
  readonly names?: Names; // of spare classes
  readonly lost_names?: readonly string[];
  readonly answers?: readonly FileAnswer[]; // of the mentor that was asked online
  readonly asked?: Readonly<Record<string, unknown>>; // Asked, in_words
}
