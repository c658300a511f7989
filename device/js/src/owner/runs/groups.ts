// The groups that an owner's samples lie in under a learner's present parameters, from the bundle's labelled replay samples.
//
// Axes: N samples, K classes, D embedding.

import { UNLABELLED } from "../../bundle/packs.js";
import { shares, steadyClasses, type Embedded } from "../../guard/clusters.js";
import { takeSamples } from "../../learner/batch.js";
import type { Learner } from "../../learner/learner.js";

/** `steadyClasses` of samples that have these embeddings under `learner`. */
export async function groupsOf(
  learner: Learner,
  embedding: Float32Array,
  labels: Int32Array,
): Promise<Int32Array | null> {
  const K = learner.bundle.manifest.classes.length;
  return steadyClasses({ embedding, labels }, await everybody(learner), K, embedding.length / labels.length);
}

/** `shares` of them, rows of K. */
export async function sharesOf(
  learner: Learner,
  embedding: Float32Array,
  labels: Int32Array,
): Promise<Float64Array[] | null> {
  const K = learner.bundle.manifest.classes.length;
  return shares({ embedding, labels }, await everybody(learner), K, embedding.length / labels.length);
}

async function everybody(learner: Learner): Promise<Embedded> {
  const { samples } = await learner.supervision();
  const rows = Int32Array.from(samples.labels.keys()).filter((row) => (samples.labels[row] ?? UNLABELLED) >= 0);
  const { input, labels } = takeSamples(learner.bundle.manifest, samples, rows);
  return { embedding: rows.length ? (await learner.predict(input)).embedding : new Float32Array(), labels };
}
