// What a runtime throws, as one line that says whose fault it is: its own, its files' or the bundle's.

import { BundleError } from "../bundle/errors.js";
import type { Runtime } from "./runtime.js";

/** The app's ONNX Runtime cannot start, or cannot do what a bundle asks; one line. */
export class RuntimeError extends Error {
  override readonly name = "RuntimeError";
}

const OLDEST = "take ONNX Runtime 1.17 or newer";

/** Throws RuntimeError for what has not the API of onnxruntime-common. */
export function requireRuntime(runtime: Runtime): void {
  if (typeof runtime?.InferenceSession?.create === "function" && typeof runtime.Tensor === "function") return;
  throw new RuntimeError(
    'that is no ONNX Runtime, which has InferenceSession and Tensor: give what `import * as ort from "onnxruntime-web"` (or -node, ' +
      "-react-native) makes",
  );
}

/** Why no session can be made of `file`. */
export function notOpened(error: unknown, file: string): Error {
  const said = lineOf(error);
  const operator = /No Op registered for (\w+)|implementation for (\w+)\(|resolve operator '(\w+)'/.exec(said);
  if (operator !== null) {
    const name = operator.slice(1).find((one) => one !== undefined);
    return new RuntimeError(
      `the runtime has no operator ${name}, which ${file} needs: ${OLDEST}, on the provider wasm or cpu`,
    );
  }
  const newer = /model IR version: \d+, max supported IR version: \d+|[Oo]pset \d+ is under development/.exec(said);
  if (newer !== null) return new RuntimeError(`the runtime is too old for ${file} (${newer[0]}): ${OLDEST}`);
  if (/\[webgpu\]/.test(said)) {
    return new RuntimeError(`there is no WebGPU here (${said}): take the provider wasm`);
  }
  if (/no available backend found|backend not found/.test(said)) {
    return new RuntimeError(
      `ONNX Runtime cannot start (${said}): put its .mjs and .wasm files, of the version that is imported, where ` +
        "ort.env.wasm.wasmPaths points",
    );
  }
  return new BundleError(`the runtime cannot open ${file}: ${said}`);
}

/** Why a session of `file` gave no answer. */
export function notRun(error: unknown, file: string, onCard: boolean): RuntimeError {
  return new RuntimeError(`the runtime cannot run ${file}${onCard ? " on WebGPU, try wasm" : ""}: ${lineOf(error)}`);
}

/** On one line, without the places in the runtime's source. */
function lineOf(error: unknown): string {
  return String(error instanceof Error ? error.message : error)
    .replace(/\s+/g, " ")
    .replace(/\S*\/onnxruntime\/core\/\S+:\d+ .*?\)( const)? (?=[A-Z]|[a-z_]+ )/, "")
    .trim()
    .slice(0, 300);
}
