// Steps of a bundle's training artifacts in onnxruntime-web 1.19.2 on recorded feeds; the same in Node and in a browser.
//
// A case is {"accumulate": n, "batches": [{"<input>": {"dtype", "dims", "data"}}, …]}, data being base64 of little-endian
// numbers; beside it the four files of ort-training/ and expected.f32, Python's parameters after the last step, in the order of
// the training graph.

import { withWeights } from "./weights.mjs";

const ARRAYS = { float32: Float32Array, int64: BigInt64Array };

export async function replay(ort, read, wasmPaths) {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = wasmPaths;
  ort.env.logLevel = "fatal"; // what goes wrong is thrown as well
  const evalModel = await read("eval_model.onnx");
  const session = await ort.TrainingSession.create(
    {
      checkpointState: await read("checkpoint"),
      trainModel: withWeights(await read("training_model.onnx"), { "eval_model.onnx": evalModel }),
      evalModel,
      optimizerModel: await read("optimizer_model.onnx"),
    },
    { executionProviders: ["wasm"] },
  );
  const given = JSON.parse(new TextDecoder().decode(await read("case.json")));
  const losses = [];
  for (const [number, batch] of given.batches.entries()) {
    const outputs = await session.runTrainStep(feedsOf(ort, session.trainingInputNames, batch));
    losses.push(Number(outputs[session.trainingOutputNames[0]].data[0]));
    if ((number + 1) % given.accumulate === 0) {
      await session.runOptimizerStep();
      await session.lazyResetGrad();
    }
  }
  const seen = (await session.getContiguousParameters(true)).data;
  const expected = new Float32Array((await read("expected.f32")).slice().buffer);
  await session.release();
  return { batches: losses.length, losses, parameters: seen.length, ...apart(seen, expected) };
}

// Feeds go by the order of their keys, not by name: built in any other order, α and β would swap in silence.
function feedsOf(ort, names, batch) {
  const feeds = {};
  for (const name of names) {
    const { dtype, dims, data } = batch[name];
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    feeds[name] = new ort.Tensor(dtype, new ARRAYS[dtype](bytes.buffer), dims);
  }
  return feeds;
}

function apart(seen, expected) {
  if (seen.length !== expected.length) {
    throw new Error(`${seen.length} parameters, expected ${expected.length}`);
  }
  let largest = 0;
  let different = 0;
  for (let i = 0; i < seen.length; i++) {
    const difference = Math.abs(seen[i] - expected[i]);
    if (!(difference <= largest)) largest = difference; // NaN is kept
    if (difference !== 0) different++;
  }
  return { largest_difference: largest, different };
}
