// node victim.mjs FOLDER BUNDLE: adds samples and learns again and again; says what is acknowledged: "samples current".

import { writeSync } from "node:fs";
import { createRequire } from "node:module";

import { Owner } from "../../dist/index.js";
import { FolderStorage, openBundle } from "../../dist/node/index.js";

const ort = createRequire(import.meta.url)("onnxruntime-node");
const bundle = await openBundle(process.argv[3]);
const owner = await Owner.open(bundle, ort, await FolderStorage.open(process.argv[2]));
const { input, labels } = await bundle.golden();
const each = input.length / labels.length;
const say = () => writeSync(1, `${owner.samples.length} ${owner.current}\n`);
say();
if (owner.paused) await owner.resume();
for (let from = owner.samples.length % 70; ; from = (from + 3) % 70) {
  await owner.add({ input: input.subarray(from * each, (from + 3) * each), labels: labels.subarray(from, from + 3) });
  say();
  await owner.learn({ steps: 6, saveEvery: 2 });
  say();
}
