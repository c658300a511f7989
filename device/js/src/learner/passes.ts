// Passes of a few samples each. A step's memory is its activations', and a phone has little: the gradient of many samples is the
// sum of what passes over a few of them leave.

import type { Knobs } from "../bundle/manifest/inputs.js";
import type { Manifest } from "../bundle/manifest/manifest.js";
import { rowsOf, type Batch } from "./batch.js";

export const EVALUATION_BATCH = 8; // answers do not depend on it beyond rounding
const PASS_BYTES = 2 * 2 ** 20; // of activations
const LEAST = 4; // samples a pass; fewer cost more time than they save memory

/** A part of a step's batch, and of each loss term the part's share in the whole's. */
export interface Pass {
  readonly batch: Batch;
  readonly labels: number; // share in ce
  readonly answers: number; // share in every other term
}

/** `batch` of one step in parts whose gradients add up to the whole's.
 *
 * A weighted mean over B samples is the sum over the parts of (their weight / all weight) times theirs, so each part gets α and γ
 * times that share. One part where that does not hold: a loss that relates samples or takes a root over them (probes with β above
 * 0, a softmax loss other than KL), BatchNorm on the statistics of the batch, Dropout's masks. */
export function* passes(manifest: Manifest, batch: Batch): Generator<Pass> {
  const size = passSize(manifest);
  if (size >= batch.size || !separable(manifest, batch.knobs.beta)) {
    yield { batch, labels: 1, answers: 1 };
    return;
  }
  for (let start = 0; start < batch.size; start += size) {
    const end = Math.min(start + size, batch.size);
    const labels = share(batch.labelled, start, end);
    const answers = share(batch.supervised, start, end);
    const { alpha, gamma } = batch.knobs;
    const knobs: Knobs = { ...batch.knobs, alpha: Math.fround(alpha * labels), gamma: Math.fround(gamma * answers) };
    yield { batch: rowsOf(batch, start, end, knobs), labels, answers };
  }
}

/** Samples of one pass of the training graph. */
function passSize({ activationBytes }: Manifest): number {
  return activationBytes ? Math.max(LEAST, Math.trunc(PASS_BYTES / activationBytes)) : EVALUATION_BATCH;
}

/** Whether the loss of a batch is a weighted sum of its parts'. */
function separable(manifest: Manifest, beta: number): boolean {
  return (
    manifest.terms.at(-1) === "kl" &&
    (!manifest.probes.size || beta === 0) &&
    manifest.batchNorm !== "batch" &&
    manifest.dropout === "off"
  );
}

function share(values: Float32Array, start: number, end: number): number {
  const whole = sum(values);
  return whole ? Math.fround(sum(values.subarray(start, end)) / whole) : 0;
}

function sum(values: Float32Array): number {
  return values.reduce((total, one) => total + one, 0);
}
