// What went wrong, as the page has words for it.

import {
  BundleError,
  DrawingError,
  LearningError,
  RuntimeError,
  SampleError,
  StateError,
  StorageError,
} from "../../../src/index.js";
import type { CallName, Refusal } from "../shared/messages.js";
import { isFull } from "./room/overflow.js";

/** A file that a person gave and that cannot be used. */
export class FileError extends Error {
  override readonly name = "FileError";
}

/** Of a state that cannot be read there is only word where a room is opened: any other request leaves what is there as it was. */
export function refusalOf(error: unknown, call: CallName): Refusal {
  const line = error instanceof Error ? error.message : String(error);
  const kind = kindOf(error, line);
  return { kind: kind === "state" && call !== "open" ? "other" : kind, line };
}

function kindOf(error: unknown, line: string): Refusal["kind"] {
  if (error instanceof FileError) return "file";
  if (error instanceof StorageError) {
    if (line.includes("open in another tab")) return "busy";
    return isFull(error) ? "full" : "other";
  }
  if (error instanceof DrawingError) return "drawing";
  if (error instanceof StateError) return "state";
  if (/no available backend/i.test(line)) return "runtime";
  if (error instanceof BundleError || /fetch/i.test(line)) return "network";
  if (error instanceof RuntimeError || /WebAssembly|wasm/i.test(line)) return "wasm";
  if (error instanceof SampleError && line.includes("spare class")) return "classes";
  if (error instanceof SampleError && /class name|is called/.test(line)) return "name";
  if (error instanceof LearningError) return "other";
  return "other";
}
