// Which files a first visit loads: all but those of WebGPU, which are loaded when somebody asks for it.

const LATER = /webgpu|asyncify|jsep|jspi/;

export function isFirst(file: string): boolean {
  return !LATER.test(file) && !file.endsWith(".map") && file !== "sw.js";
}
