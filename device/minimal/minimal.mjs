// Trains a bundle's mentee with onnxruntime-node alone: node minimal.mjs BUNDLE STEPS

// Load the runtime
import { readFile } from "node:fs/promises";
import * as ort from "onnxruntime-node";
import { tensors } from "./safetensors.mjs";

const [folder, steps] = process.argv.slice(2);
const open = (name) => ort.InferenceSession.create(`${folder}/stock/${name}.onnx`);

// Open the graphs
const manifest = JSON.parse(new TextDecoder().decode(await readFile(`${folder}/manifest.json`)));
const given = { ...manifest.preprocessing, ...manifest.loss, ...manifest.optimizer };
const graph = {};
for (const name of ["gradients", "optimizer", "forward"]) graph[name] = await open(name);
const tensor = ({ data, dims = [data.length] }) => new ort.Tensor(data, dims);
async function run(name, more) {
  const feeds = {};
  for (const input of graph[name].inputNames) feeds[input] = tensor(more[input] ?? values[input]);
  const found = await graph[name].run(feeds);
  for (const output in found) values[output.replace("new_", "")] = found[output];
}

// Begin with the bundle's state
const values = tensors(await readFile(`${folder}/stock/state.safetensors`));
values.moment1 = values.moment2 = { data: new Float32Array(values.parameters.data.length) };
for (const name in given) values[name] = { data: Float32Array.of(given[name]) };

// Read the replay samples
const pool = tensors(await readFile(`${folder}/supervision.safetensors`));
pool.labelled = { ...pool.labels, data: Float32Array.from(pool.labels.data, (label) => Number(label >= 0)) };
pool.supervised = { ...pool.labels, data: new Float32Array(pool.labels.data.length).fill(1) };

// Mix batches
const scale = given.dtype === "float32" ? 1 : 255;
const channel = (place) => Math.floor(place / given.shape[1] / given.shape[2]) % given.shape[0];
pool.input.data.forEach((value, i, all) => (all[i] = (value / scale - given.mean[channel(i)]) / given.std[channel(i)]));
function batch(number) {
  const batch = { seed: { data: Float32Array.of(number) } };
  for (const [name, { data, dims, row }] of Object.entries(pool)) {
    const at = (i) => (((24 * number + Math.floor(i / row)) * 7919) % dims[0]) * row + (i % row);
    batch[name] = { data: data.constructor.from({ length: 24 * row }, (_, i) => data[at(i)]), dims: dims.with(0, 24) };
  }
  return batch;
}

for (let step = 0; step < steps; step++) {
  // Compute gradients
  await run("gradients", batch(step));
  console.log(values.loss.data[0]);

  // Move the parameters
  await run("optimizer", { step: { data: Float32Array.of(step + 1) } });
}

// Predict
await run("forward", { input: batch(0).input });
console.log(JSON.stringify([...values.logits.data.slice(0, manifest.classes.length)]));
