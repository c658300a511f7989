// node check.mjs FOLDER: replays the case in FOLDER (replay.mjs) and prints one line of JSON; exit code 1 where it cannot.

import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { replay } from "./replay.mjs";

const dist = new URL("node_modules/onnxruntime-web/dist/", import.meta.url);
const ort = await import(new URL("ort.training.wasm.min.mjs", dist)); // by path: the package offers Node no entry for training
const read = async (name) => new Uint8Array(await readFile(join(process.argv[2], name)));
try {
  console.log(JSON.stringify(await replay(ort, read, dist.href)));
} catch (error) {
  console.error(`error: ${error?.message ?? error}`);
  process.exitCode = 1;
}
