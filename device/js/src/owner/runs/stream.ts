// One pass: samples are stored as they come, and learnt from as soon as enough of them wait, each in one step only.

import { UNLABELLED, checkLabels, type Samples } from "../../bundle/packs.js";
import { asItIs, elementsOf, requireScale, samplesIn } from "../../bundle/preprocess.js";
import { LearningError, type Learner } from "../../learner/learner.js";
import type { Plan } from "../record.js";
import { addSamples, type Adding } from "../samples.js";
import type { State } from "../state.js";
import { learntLabels, type RunResult, type Running, type Runs } from "./runs.js";

/** `every`: labelled samples that a run waits for, 32 by default; `plan`: of each run, its samples and budget are set here. */
export interface Streaming extends Omit<Adding, "mentorLogits"> {
  readonly every?: number;
  readonly plan?: Plan;
}

/** Numbers of the labelled samples that no run has drawn from yet, oldest first. */
export function waiting({ now }: State): number[] {
  const seen = new Set(now.versions.flatMap(learntLabels));
  return now.samples.filter(({ number, label }) => label >= 0 && !seen.has(number)).map(({ number }) => number);
}

/** See `Owner.stream`. After a run that was paused the rest is stored and waits. */
export async function stream(
  state: State,
  learner: Learner,
  runs: Runs,
  samples: Samples,
  { every = 32, plan = {}, ...adding }: Streaming,
  running: Running,
): Promise<RunResult[]> {
  if (!(Number.isInteger(every) && every >= 1)) throw new LearningError(`every is ${every}, expected at least 1`);
  const { manifest } = learner.bundle;
  const { input } = samples;
  const N = samplesIn(input, manifest.preprocessing);
  requireScale(input, manifest.preprocessing); // as a whole: a part may be darker
  const labels = checkLabels(samples.labels, N, manifest.classes.length, UNLABELLED);
  const each = elementsOf(manifest.preprocessing);
  const take = (start: number, end: number): Promise<number[]> => {
    const some = { input: asItIs(input.slice(start * each, end * each)), labels: labels.slice(start, end) };
    return addSamples(state, manifest, some, adding);
  };
  const results: RunResult[] = [];
  for (let start = 0; start < N; start += every) {
    await take(start, start + every);
    for (let numbers = waiting(state); numbers.length >= every; numbers = numbers.slice(every)) {
      const part = { ...plan, samples: numbers.slice(0, every), budget: { samples: every }, once: true };
      const done = await runs.begin(part, running);
      results.push(done);
      if (done.status !== "paused") continue;
      if (start + every < N) await take(start + every, N);
      return results;
    }
  }
  return results;
}
