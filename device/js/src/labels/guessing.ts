// Labels for an owner's samples that have none, what they were guessed from, and the way back.
//
// Samples are taken in the order they came. A guess is learnt from like a label, at its weight; the owner's word replaces it
// whenever it comes. Axes: N samples, K classes.

import { unnamedOf } from "../bundle/manifest/spare.js";
import { SampleError } from "../bundle/preprocess.js";
import { softmax } from "../guard/answers.js";
import { takeSamples } from "../learner/batch.js";
import type { Learner } from "../learner/learner.js";
import { answersOf, closeAnswers } from "../online/answers.js";
import type { Source, StoredSample } from "../owner/record.js";
import { sharesOf } from "../owner/runs/groups.js";
import type { Running, Runs } from "../owner/runs/runs.js";
import { unlearnLabels, type Unlearned } from "../owner/runs/unlearn.js";
import { readSamples } from "../owner/samples.js";
import type { State } from "../owner/state.js";
import { ask, requireMentor, type Mentor } from "./own-mentor.js";
import {
  GUESSED,
  adaptiveThresholds,
  agreed,
  clustered,
  mentors,
  nearMisses,
  pseudo,
  type Known,
} from "./pseudo-labels.js";
import { SURE, checkedRules, type GuessRules } from "./rules.js";

const CHUNK = 64; // samples that a mentor is asked about at once

/** A sample's guessed label: how sure its `source` was of it, and the label `before` a neighbour's took its place, −1 for
 * none. */
export interface Guess extends Omit<Known, "weight"> {
  readonly number: number;
}

/** The new guesses, written to the sample store. Throws SampleError. */
export async function guess(
  state: State,
  learner: Learner,
  given: GuessRules,
  mentor: Mentor | null,
): Promise<Guess[]> {
  const rules = checkedRules(given);
  requireMentor(mentor);
  const seen = await asked(state, learner, mentor);
  const before = seen.samples.map(knownOf);
  let known = mentors(before, seen.online, rules.mentorThreshold, "mentor-online");
  known = mentors(known, seen.recorded, rules.mentorThreshold, "mentor");
  const { threshold } = rules;
  if (rules.rule === "clusters" && known.length) {
    const said = Int32Array.from(before, ({ source, label }) => (source === "owner" ? label : -1));
    const shares = await sharesOf(learner, seen.embedding, said);
    if (shares === null) {
      throw new SampleError(
        "clusters need two classes to start from, and neither the bundle's replay samples nor the owner's labels have them: label " +
          "some samples, or guess by another rule",
      );
    }
    known = clustered(known, shares, rules.weight);
  } else if (rules.rule === "pseudo" && threshold !== null) {
    const byClass = rules.adaptive ? adaptiveThresholds(seen.probability, threshold) : [];
    known = pseudo(known, seen.probability, (label) => byClass[label] ?? threshold);
  }
  if (rules.pause !== null) {
    for (const [start, end] of streams(seen.samples, rules.pause)) {
      const part = nearMisses(
        known.slice(start, end),
        seen.probability.slice(start, end),
        threshold ?? SURE,
        rules.near,
      );
      known.splice(start, end - start, ...agreed(part, rules.window));
    }
  }
  return stored(state, seen.samples, before, known);
}

/** All guesses that stand, oldest sample first. */
export function guesses(state: State): Guess[] {
  return state.now.samples.filter(({ source }) => GUESSED.includes(source)).map(guessOf);
}

/** Takes guessed labels back, all or those of these samples and sources, and what they taught. Throws SampleError. */
export async function undoGuesses(
  state: State,
  runs: Runs,
  samples: readonly number[] | undefined,
  sources: readonly Source[],
  running: Running,
): Promise<Unlearned> {
  const unknown = sources.filter((name) => !GUESSED.includes(name));
  if (unknown.length) throw new SampleError(`no guesses by ${unknown.join(", ")}; they are by ${GUESSED.join(", ")}`);
  const standing = new Set(
    guesses(state)
      .filter(({ source }) => sources.includes(source))
      .map(({ number }) => number),
  );
  const missing = samples?.find((number) => !standing.has(number));
  if (missing !== undefined) {
    throw new SampleError(`sample ${missing} has no guessed label to undo: nothing was changed`);
  }
  const gone = new Set(samples ?? standing);
  if (!gone.size) return { samples: [], versions: [], current: state.now.current, replay: null };
  return unlearnLabels(state, runs, gone, running);
}

/** First and end row of each stream: stored one after the other, none missing in between, at most `pause` seconds apart. */
export function streams(samples: readonly StoredSample[], pause: number): (readonly [number, number])[] {
  const ends = samples.flatMap((one, row) => {
    const last = samples[row - 1];
    if (last === undefined) return [];
    const seconds = (Date.parse(one.time) - Date.parse(last.time)) / 1000;
    return one.number === last.number + 1 && seconds >= 0 && seconds <= pause ? [] : [row];
  });
  const starts = samples.length ? [0, ...ends] : [];
  return starts.map((start, place) => [start, ends[place] ?? samples.length] as const);
}

interface Seen {
  readonly samples: readonly StoredSample[];
  readonly probability: readonly Float64Array[]; // the mentee's
  readonly embedding: Float32Array;
  readonly online: readonly (Float64Array | null)[]; // the mentor's, by its service
  readonly recorded: readonly (Float64Array | null)[]; // the mentor's, as it came with the sample or as it says now
}

async function asked(state: State, learner: Learner, mentor: Mentor | null): Promise<Seen> {
  const { manifest } = learner.bundle;
  await closeAnswers(state, learner);
  const wanted = state.now.samples.map(({ number }) => number);
  const [inputs, , numbers] = await readSamples(state, manifest, wanted);
  const samples = state.now.samples.filter(({ number }) => numbers.includes(number));
  if (!samples.length) return { samples, probability: [], embedding: new Float32Array(), online: [], recorded: [] };
  const found = await learner.predict(inputs.input);
  const K = manifest.classes.length;
  const unnamed = unnamedOf(manifest);
  const answers = await answersOf(state, manifest, numbers, null);
  const said = (logits: Float32Array | Float64Array): Float64Array => {
    const known = logits.slice();
    for (const place of unnamed) known[place] = -Number.MAX_VALUE; // no mentor knows a class that has no name
    return softmax(known, K);
  };
  const rowOf = (values: Float32Array, row: number): Float32Array => values.subarray(row * K, (row + 1) * K);
  const [probability, online, recorded]: [Float64Array[], Seen["online"][number][], Seen["recorded"][number][]] = [
    [],
    [],
    [],
  ];
  for (const [row, one] of samples.entries()) {
    const own = softmax(rowOf(found.logits, row), K);
    for (const place of unnamed) own[place] = 0;
    probability.push(own);
    const answer = answers?.known[row] ? said(rowOf(answers.mentorLogits, row)) : null;
    online.push(answer);
    const content = answer !== null || one.mentorLogits === null ? null : await state.get(one.mentorLogits);
    recorded.push(content?.length === 4 * K ? said(new Float32Array(content.slice().buffer)) : null);
  }
  const open = samples.flatMap(({ label }, row) => (label < 0 && !online[row] && !recorded[row] ? [row] : []));
  for (let start = 0; mentor !== null && start < open.length; start += CHUNK) {
    const rows = Int32Array.from(open.slice(start, start + CHUNK));
    const answers = await ask(mentor, takeSamples(manifest, inputs, rows).input, rows.length, K);
    for (const [place, logits] of answers.entries()) if (logits !== null) recorded[rows[place] ?? 0] = said(logits);
  }
  return { samples, probability, embedding: found.embedding, online, recorded };
}

function knownOf({ label, confidence, source, weight, before }: StoredSample): Known {
  const sure = confidence ?? Number(source === "owner");
  return { label, confidence: sure, source, weight: label >= 0 ? weight : 0, before: before ?? -1 };
}

function guessOf({ number, label, source, confidence, before }: StoredSample): Guess {
  return { number, label, source, confidence: confidence ?? 0, before: before ?? -1 };
}

async function stored(
  state: State,
  samples: readonly StoredSample[],
  before: readonly Known[],
  after: readonly Known[],
): Promise<Guess[]> {
  const changed = new Map<number, StoredSample>();
  const standing = new Set(state.now.samples); // without those that another change has touched while a mentor thought
  for (const [row, one] of samples.entries()) {
    const [then, now] = [before[row], after[row]];
    if (now === undefined || !standing.has(one) || !GUESSED.includes(now.source)) continue;
    if (now.label === then?.label && now.source === then.source) continue;
    changed.set(one.number, { ...one, ...now, confidence: Math.round(now.confidence * 1e6) / 1e6 });
  }
  const found = [...changed.values()].map(guessOf);
  if (!found.length) return [];
  const counts = GUESSED.map((source) => [source, found.filter((one) => one.source === source).length] as const);
  const words = counts.filter(([, count]) => count).map(([source, count]) => `${count} by ${source}`);
  await state.change(
    (now) => ({ samples: now.samples.map((one) => changed.get(one.number) ?? one) }),
    "guess",
    `${found.length} labels were guessed: ${words.join(", ")}`,
  );
  return found;
}
