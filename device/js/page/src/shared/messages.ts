// What the page and its worker say to each other. A room is one bundle with its owner; its requests are answered in order.

import type { Stroke } from "../../../src/strokes/strokes.js";

export type RoomName = "shapes" | "digits";

/** What a pen drew on a canvas of these CSS pixels; points are in them. */
export interface Drawing {
  readonly strokes: readonly Stroke[];
  readonly width: number;
  readonly height: number;
}

/** One class and how likely it is, 0 to 1. */
export interface Guess {
  readonly name: string;
  readonly probability: number;
}

/** `image`: the 28×28 pixels that were looked at, white on black. `top`: the likeliest first. `base`: what the bundle's own mentee
 * says to the same; null where it is not asked. */
export interface Answer {
  readonly image: Uint8Array;
  readonly top: readonly Guess[];
  readonly base: readonly Guess[] | null;
  readonly milliseconds: number;
}

export interface SampleLine {
  readonly number: number;
  readonly name: string;
  readonly time: string;
}

/** `everybody`: the share of golden samples that it is right on, where a run measured it. */
export interface VersionLine {
  readonly number: number;
  readonly status: string;
  readonly time: string;
  readonly steps: number;
  readonly everybody: number | null;
  readonly why: string;
  readonly canReturn: boolean;
}

export interface LogLine {
  readonly time: string;
  readonly text: string;
}

/** How often the base and the person's own mentee were right on a drawing that neither had learnt from. */
export interface Score {
  readonly drawn: number;
  readonly base: number;
  readonly mine: number;
}

export interface TaughtClass {
  readonly name: string;
  readonly drawings: number;
  /** Whether the version that answers has learnt it; else it is known by example only. */
  readonly learnt: boolean;
}

export interface Everybody {
  readonly base: number;
  readonly now: number;
}

/** All that a view shows of a room. */
export interface Overview {
  readonly classes: readonly string[];
  readonly taught: readonly TaughtClass[];
  /** How many classes may still be taught; null: not by this room. */
  readonly room: number | null;
  readonly samples: readonly SampleLine[];
  /** Samples that the version which answers has not learnt from. */
  readonly waiting: number;
  readonly current: number;
  readonly versions: readonly VersionLine[];
  readonly log: readonly LogLine[];
  /** Accuracy on the golden set, of the base and of what answers now; null until `measure` has been asked. */
  readonly everybody: Everybody | null;
  readonly score: Score | null;
  readonly knobs: Knobs;
  /** Bytes of the person's state. */
  readonly bytes: number;
  /** Whether it is stored beyond the tab; `why` not. */
  readonly lasting: boolean;
  readonly why: string;
  /** Why the last changes are not stored, and are lost with the tab; "" where they are. */
  readonly heldBack: string;
}

export interface Knobs {
  readonly alpha: number;
  readonly beta: number;
  readonly gamma: number;
}

/** `mentor` false: without replay and without the mentor's say, and no guard drops the run. */
export interface LearnOptions {
  readonly mentor: boolean;
  /** The short run after a correction. */
  readonly correction?: boolean;
  readonly knobs: Knobs | null;
}

export interface Outcome {
  readonly status: "accepted" | "dropped" | "stopped";
  readonly why: string;
  readonly steps: number;
  readonly seconds: number;
  /** Accuracy on the golden set before the run and after it, whether or not it was taken. */
  readonly everybody: { readonly before: number; readonly after: number } | null;
  readonly overview: Overview;
}

export type Provider = "wasm" | "webgpu";

/** Requests by name: what each takes and is answered. */
export interface Calls {
  open: { takes: { bundle: string; provider: Provider }; gives: Overview };
  measure: { takes: null; gives: Overview };
  recognise: { takes: { drawing: Drawing }; gives: Answer };
  teach: { takes: { name: string; drawings: readonly Drawing[] }; gives: Overview };
  removeClass: { takes: { name: string }; gives: Overview };
  label: { takes: { drawing: Drawing; name: string }; gives: Overview };
  learn: { takes: LearnOptions; gives: Outcome };
  forget: { takes: { numbers: readonly number[] }; gives: Overview };
  goBack: { takes: { version: number }; gives: Overview };
  images: { takes: { numbers: readonly number[] }; gives: readonly Uint8Array[] };
  save: { takes: null; gives: Uint8Array };
  load: { takes: { file: Uint8Array }; gives: Overview };
  wipe: { takes: null; gives: null };
}

export type CallName = keyof Calls;

export interface Request<Name extends CallName = CallName> {
  readonly id: number;
  readonly room: RoomName;
  readonly call: Name;
  readonly given: Calls[Name]["takes"];
}

/** Ends the run of learning that is going on, at once and not in the order of requests. */
export interface Stop {
  readonly stop: RoomName;
}

/** Why a request was refused: what the page has words for, and the program's own line. */
export interface Refusal {
  readonly kind:
    "busy" | "full" | "drawing" | "file" | "network" | "runtime" | "wasm" | "state" | "classes" | "name" | "other";
  readonly line: string;
}

export type Reply =
  | { readonly id: number; readonly gives: unknown }
  | { readonly id: number; readonly refused: Refusal }
  | { readonly id: number; readonly progress: number };
