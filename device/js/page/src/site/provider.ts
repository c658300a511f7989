// Which of the runtime's two computes: WebAssembly, unless the person asked for WebGPU.

import type { Provider } from "../shared/messages.js";

const KEY = "provider";

export function provider(): Provider {
  try {
    return localStorage.getItem(KEY) === "webgpu" && webGpuThere() ? "webgpu" : "wasm";
  } catch {
    return "wasm"; // storage is forbidden
  }
}

export function setProvider(chosen: Provider): void {
  try {
    if (chosen === "wasm") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, chosen);
  } catch {
    // until the page is closed only
  }
}

export function webGpuThere(): boolean {
  return "gpu" in navigator;
}
