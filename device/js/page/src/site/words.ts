// Errors in plain words.

import { Refused } from "./assistant.js";

export interface Words {
  readonly title: string;
  readonly text: string;
  /** The program's own line, for who wants it. */
  readonly line: string;
}

const INCOMPLETE = [
  "The network could not be fetched.",
  "Part of the page is missing or was cut off on the way. Reload the page.",
] as const;
const KNOWN: Readonly<Record<string, readonly [string, string]>> = {
  busy: [
    "This page is open in another tab.",
    "Two tabs would learn two different things, so only one may. Close the other one, then try again here.",
  ],
  full: [
    "This browser's space for the page is full.",
    "Nothing was lost, and nothing was added. Delete some drawings under “Your data”, or make room on this device.",
  ],
  drawing: ["That is too small to see.", "Draw it larger, with one stroke at least."],
  file: [
    "This file cannot be loaded.",
    "It is not a model of this part of the page, or it was damaged. What you have here is as it was.",
  ],
  network: INCOMPLETE,
  runtime: INCOMPLETE,
  wasm: [
    "This browser cannot run the network.",
    "The page needs WebAssembly, which this browser lacks or has switched off. A current browser has it.",
  ],
  state: ["What is stored here cannot be read.", "Delete it and begin anew, or load a model that you downloaded."],
  classes: ["There is no room for another shape.", "Remove one that you taught first."],
  name: ["This name cannot be used.", "Pick an emoji, or write a short word in plain characters."],
  other: ["That did not work.", "Nothing was changed. Try again; if it stays so, reload the page."],
};

export function wordsFor(error: unknown): Words {
  const kind = error instanceof Refused ? error.refusal.kind : "other";
  const [title, text] = KNOWN[kind] ?? ["That did not work.", ""];
  return { title, text, line: error instanceof Error ? error.message : String(error) };
}

/** Why a run was not taken. */
export function droppedWords(why: string): string {
  if (why.includes("golden accuracy"))
    return "It would have forgotten too much of what everybody else draws, so it was not taken. Nothing has changed. If it learnt without its mentor before, undo that first.";
  if (why.includes("worse for the owner"))
    return "It would have been worse on your own drawings, so it was not taken. Nothing has changed.";
  return "The check at its end refused it. Nothing has changed.";
}
