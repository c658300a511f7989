// Trains a bundle's mentee with onnxruntime-node alone: node train.mjs BUNDLE STEPS SAMPLES

// Load the runtime
import { readFile, rename, writeFile } from "node:fs/promises";
import * as ort from "onnxruntime-node";
import { tensors } from "./safetensors.mjs";

const [folder, steps, samples] = process.argv.slice(2);
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

// Add the owner's samples
const own = tensors(await readFile(samples));
own.labelled = { data: Float32Array.from(own.labels.data, (label) => 4 * Number(label >= 0)) };
for (const [name, { data, dims, row }] of Object.entries(pool)) {
  const both = new data.constructor(data.length + own.labels.data.length * row); // 0 where the mentor has no answer
  both.set(data);
  if (own[name]) both.set(own[name].data, data.length);
  pool[name] = { data: both, dims: dims.with(0, both.length / row), row };
}

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

  // Add up the gradients of several batches
  const accumulate = given.accumulate ?? 1;
  for (let part = 1; part < accumulate; part++) {
    const before = values.gradient.data;
    await run("gradients", batch(part * steps + step));
    values.gradient.data.forEach((value, i, all) => (all[i] = value + before[i]));
    console.log(values.loss.data[0]);
  }
  values.gradient.data.forEach((value, i, all) => (all[i] = value / accumulate));

  // Refuse what is not finite
  if (!values.gradient.data.every(Number.isFinite))
    throw new Error(`step ${step}: not finite; lower the learning rate`);

  // Move the parameters
  await run("optimizer", { step: { data: Float32Array.of(step + 1) } });
}

// Keep the state
const kept = ["parameters", "moment1", "moment2", "statistics"].flatMap((name) => [...(values[name]?.data ?? [])]);
await writeFile("state.new", Float32Array.from([...kept, steps]));
await rename("state.new", "state.f32");

// Predict
await run("forward", { input: batch(0).input });
console.log(JSON.stringify([...values.logits.data.slice(0, manifest.classes.length)]));
