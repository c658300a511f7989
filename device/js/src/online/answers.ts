// The mentor's answers beside the owner's samples: what its service said when it was asked. Axes: N samples, K classes.
//
// Each is a piece of the state and goes with its sample. One that is damaged is as good as none.

import type { Bytes } from "../bytes.js";
import { activationInput } from "../bundle/manifest/inputs.js";
import type { Manifest } from "../bundle/manifest/manifest.js";
import type { OwnAnswers } from "../learner/batch.js";
import type { Learner } from "../learner/learner.js";
import type { StoredAnswer } from "../owner/record.js";
import { readSamples } from "../owner/samples.js";
import type { State } from "../owner/state.js";
import { float16Finite } from "../tensors/float16.js";
import { NotTensors, readTensors, writeTensors, type Tensor } from "../tensors/safetensors.js";
import { withSpare } from "./spare.js";

/** To one sample: `mentorLogits` [K], `activations` per probe, half precision. */
export interface Answer {
  readonly mentorLogits: Float32Array;
  readonly activations: ReadonlyMap<string, Uint16Array>;
}

const LOGITS = "mentor_logits";

/** As a piece of the state. */
export function answerBytes({ mentorLogits, activations }: Answer): Bytes {
  const own = (data: Float32Array | Uint16Array) => data.slice() as Tensor["data"];
  const layers = Array.from(activations, ([probe, data]): [string, Tensor] => {
    return [activationInput(probe), { dtype: "F16", shape: [data.length], data: own(data) }];
  });
  return writeTensors([[LOGITS, { dtype: "F32", shape: [mentorLogits.length], data: own(mentorLogits) }], ...layers]);
}

/** null where it is damaged, or does not fit the bundle. */
export async function readAnswer(state: State, manifest: Manifest, stored: StoredAnswer): Promise<Answer | null> {
  const content = await state.get(stored);
  try {
    return content === null ? null : answerIn(content, manifest);
  } catch (error) {
    if (error instanceof NotTensors) return null;
    throw error;
  }
}

function answerIn(content: Bytes, { classes, probes }: Manifest): Answer | null {
  const { tensors } = readTensors(content);
  const mentorLogits = tensors.get(LOGITS)?.data;
  if (!(mentorLogits instanceof Float32Array) || mentorLogits.length !== classes.length) return null;
  const activations = new Map<string, Uint16Array>();
  for (const [probe, shape] of probes) {
    const data = tensors.get(activationInput(probe))?.data;
    if (!(data instanceof Uint16Array) || data.length !== sizeOf(shape) || !float16Finite(data)) return null;
    activations.set(probe, data);
  }
  return mentorLogits.every(Number.isFinite) ? { mentorLogits, activations } : null;
}

/** Answers to samples, in the order of `numbers`; with `run`, a version's number, only those that came before it began. null for
 * none. */
export async function answersOf(
  state: State,
  manifest: Manifest,
  numbers: readonly number[],
  run: number | null,
): Promise<OwnAnswers | null> {
  const stored = new Map(state.now.answers.map((one) => [one.number, one]));
  const [N, K] = [numbers.length, manifest.classes.length];
  const known = new Uint8Array(N);
  const mentorLogits = new Float32Array(N * K);
  const activations = new Map(
    Array.from(manifest.probes, ([probe, shape]) => [probe, new Uint16Array(N * sizeOf(shape))]),
  );
  for (const [row, number] of numbers.entries()) {
    const one = stored.get(number);
    if (one === undefined || one.open || (run !== null && one.version >= run)) continue;
    const answer = await readAnswer(state, manifest, one);
    if (answer === null) continue;
    known[row] = 1;
    mentorLogits.set(answer.mentorLogits, row * K);
    for (const [probe, data] of answer.activations) activations.get(probe)?.set(data, row * data.length);
  }
  return known.some(Boolean) ? { known, mentorLogits, activations } : null;
}

/** Gives the spare classes of answers that came since the share that the base gives them; `learner` ends as it was. */
export async function closeAnswers(state: State, learner: Learner): Promise<void> {
  const { manifest } = learner.bundle;
  const open = new Map(state.now.answers.filter((one) => one.open).map((one) => [one.number, one]));
  if (!open.size) return;
  const [samples, , numbers] = await readSamples(state, manifest, [...open.keys()]);
  if (!numbers.length) return;
  const base = await baseLogits(learner, samples.input);
  const K = manifest.classes.length;
  const closed = new Map<number, StoredAnswer>();
  for (const [row, number] of numbers.entries()) {
    const stored = open.get(number);
    const answer = stored === undefined ? null : await readAnswer(state, manifest, stored);
    if (stored === undefined || answer === null) continue;
    const own = base.subarray(row * K, (row + 1) * K);
    const mentorLogits = withSpare(answer.mentorLogits, own, K, manifest.spare.length, manifest.knobs.temperature);
    const piece = await state.put(`answer-${number}`, answerBytes({ ...answer, mentorLogits }));
    closed.set(number, { ...stored, ...piece, open: false });
  }
  await state.change(({ answers }) => ({ answers: answers.map((one) => closed.get(one.number) ?? one) }), "ask");
}

async function baseLogits(learner: Learner, input: Parameters<Learner["predict"]>[0]): Promise<Float32Array> {
  const now = await learner.snapshot();
  try {
    learner.reset();
    return (await learner.predict(input)).logits;
  } finally {
    learner.restore(now);
  }
}

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((all, size) => all * size, 1);
}
