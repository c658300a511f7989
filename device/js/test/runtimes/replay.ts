// A learner led through the batches that Python's learner was led through. It runs in Node and in a page, and imports types alone.

import type { Knobs, Learner, State, Supervision, Terms } from "../../src/index.js";

/** One step of tests/device/js/runtimes.py. Row numbers are of the golden set and of the replay pack. */
export interface Recorded {
  own: number[];
  labels: number[];
  weights: number[];
  ownerWeight: number;
  replay: number[] | null;
  knobs: Partial<Knobs>;
  rate: number;
}

/** What Python has of a run. */
export interface Expected {
  terms: Terms[];
  logits: number[];
  state: State;
}

/** The largest differences from it: of any loss or term of any step, of the state's numbers at the end, and of logits. */
export interface Apart {
  terms: number;
  state: number;
  logits: number;
  /** Milliseconds a step, their median. */
  milliseconds: number;
}

export async function replay(learner: Learner, steps: Recorded[], expected: Expected): Promise<Apart> {
  const golden = await learner.bundle.golden();
  const pack = await learner.supervision();
  const rate = learner.bundle.manifest.learningRate;
  const times: number[] = [];
  let terms = 0;
  for (const [number, { own, labels, weights, ownerWeight, replay, knobs, rate: factor }] of steps.entries()) {
    const samples = { input: rowsOf(golden.input, golden.labels.length, own), labels: Int32Array.from(labels) };
    learner.learningRate = rate * factor;
    const begun = performance.now();
    const seen = await learner.learnBatch(samples, replay && taken(pack, replay), {
      ownerWeight,
      weights: Float32Array.from(weights),
      knobs,
    });
    times.push(performance.now() - begun);
    for (const [name, value] of Object.entries(expected.terms[number] ?? { loss: Number.NaN }))
      terms = larger(terms, Math.abs(value - (seen[name] ?? Number.NaN)));
  }
  await learner.endCollecting();
  const { vectors } = (await learner.snapshot()).state;
  let state = 0;
  for (const [name, values] of vectors) state = larger(state, furthest(values, expected.state.vectors.get(name)));
  const { logits } = await learner.predict(golden.input);
  return {
    terms,
    state,
    logits: furthest(logits, expected.logits),
    milliseconds: times.sort((a, b) => a - b)[times.length >> 1] ?? 0,
  };
}

function taken(pack: Supervision, rows: number[]): Supervision {
  const { samples, mentorLogits, activations } = pack;
  const N = samples.labels.length;
  return {
    samples: { input: rowsOf(samples.input, N, rows), labels: rowsOf(samples.labels, N, rows) },
    mentorLogits: rowsOf(mentorLogits, N, rows),
    activations: new Map(Array.from(activations, ([probe, values]) => [probe, rowsOf(values, N, rows)])),
  };
}

type Numbers = Uint8Array | Float32Array | Int32Array | Uint16Array;

function rowsOf<T extends Numbers>(values: T, N: number, rows: number[]): T {
  const each = values.length / N;
  const made = new (values.constructor as new (length: number) => T)(rows.length * each);
  rows.forEach((row, place) => made.set(values.subarray(row * each, (row + 1) * each), place * each));
  return made;
}

function furthest(given: Float32Array, expected: ArrayLike<number> | undefined): number {
  if (expected?.length !== given.length) return Number.NaN;
  return given.reduce((most, value, place) => larger(most, Math.abs(value - (expected[place] ?? Number.NaN))), 0);
}

/** NaN where one is. */
function larger(one: number, other: number): number {
  return other <= one ? one : Number.isNaN(one) ? one : other;
}
