// node test/runtimes/measure.mjs BUNDLE node|web: CPU milliseconds of a step, of its optimizer graph with outputs allocated beforehand
// and without, and whether the runtime fills those. Medians of 30, after `npm run build`.

import { Learner } from "../../dist/index.js";
import { openBundle } from "../../dist/node/index.js";

const [path, kind] = process.argv.slice(2);
const ort = await import(kind === "web" ? "onnxruntime-web/wasm" : "onnxruntime-node");
if (kind === "web") ort.env.wasm.numThreads = 1;

async function median(run, times = 30) {
  const all = [];
  for (let n = 0; n < times; n++) {
    const begun = process.cpuUsage();
    await run();
    const { user, system } = process.cpuUsage(begun);
    all.push((user + system) / 1000);
  }
  return Number(all.sort((a, b) => a - b)[times >> 1].toFixed(2));
}

const bundle = await openBundle(path);
const { parameters } = bundle.manifest.stock;
const P = parameters.reduce((sum, { shape }) => sum + shape.reduce((all, size) => all * size, 1), 0);
const session = await ort.InferenceSession.create(await bundle.read(bundle.manifest.stock.optimizer.file));
const vector = (value, size = P) => new ort.Tensor("float32", new Float32Array(size).fill(value), [size]);
const feeds = Object.fromEntries(
  session.inputNames.map((name) => [name, ["learning_rate", "step"].includes(name) ? vector(1, 1) : vector(0.01)]),
);
const given = Object.fromEntries(session.outputNames.map((name) => [name, vector(Number.NaN)]));
const made = await session.run(feeds, given);
const [name] = session.outputNames;
console.log({
  parameters: P,
  filled: !Number.isNaN(given[name].data[0]),
  copied: made[name].data !== given[name].data,
  optimizer: await median(() => session.run(feeds)),
  allocated: await median(() => session.run(feeds, given)),
});

const learner = await Learner.open(bundle, ort);
const golden = await bundle.golden();
const each = golden.input.length / golden.labels.length;
for (const size of [1, 8, 24]) {
  const own = { input: golden.input.subarray(0, size * each), labels: golden.labels.subarray(0, size) };
  console.log({ batch: size, step: await median(() => learner.learnBatch(own)) });
}
await learner.close();
