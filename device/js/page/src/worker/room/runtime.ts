// ONNX Runtime in the browser: plain WebAssembly, or WebGPU, whose files are fetched only where it is asked for.

import type { Runtime, SessionOptions } from "../../../../src/index.js";
import type { Provider } from "../../shared/messages.js";

export interface Loaded {
  readonly runtime: Runtime;
  readonly options: SessionOptions;
}

const loaded = new Map<Provider, Promise<Loaded>>();

export function runtimeFor(provider: Provider): Promise<Loaded> {
  const there = loaded.get(provider) ?? load(provider);
  loaded.set(provider, there);
  there.catch(() => loaded.delete(provider)); // a file of it that could not be fetched may be, later
  return there;
}

async function load(provider: Provider): Promise<Loaded> {
  if (typeof WebAssembly !== "object") throw new Error("WebAssembly is missing");
  const ort = provider === "webgpu" ? await import("onnxruntime-web/webgpu") : await import("onnxruntime-web/wasm");
  ort.env.wasm.numThreads = 1; // more need headers that a plain host does not send
  ort.env.logLevel = "error";
  await ort.InferenceSession.create(new Uint8Array(), { logSeverityLevel: 4 }).catch(() => undefined); // starts the runtime, and is refused
  return { runtime: ort, options: provider === "webgpu" ? { executionProviders: ["webgpu"] } : {} };
}
