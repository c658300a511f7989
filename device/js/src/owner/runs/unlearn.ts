// Unlearning: samples go, and what they taught: back to the newest version from before the first of them was learnt from, then the
// runs since are done again without them, as one run, and the guard decides.

import { UNLABELLED } from "../../bundle/packs.js";
import { LearningError } from "../../learner/learner.js";
import type { Content, ResolvedPlan, StoredSample, Version } from "../record.js";
import type { RunResult, Running, Runs } from "./runs.js";
import { StateError, type State } from "../state.js";
import { BASE, Versions } from "../versions.js";

/** `samples` are gone, and so is what `versions` were; `current` answers now. `replay`: the run without the samples, null where
 * nothing else had been learnt since. */
export interface Unlearned {
  readonly samples: readonly number[];
  readonly versions: readonly number[];
  readonly current: number;
  readonly replay: RunResult | null;
}

/** Numbers of samples that are stored, set aside or were learnt from. Throws StateError for one that never was. */
export function chosen(
  state: State,
  wanted: readonly number[] | ((sample: StoredSample) => boolean),
): ReadonlySet<number> {
  const { samples, aside, versions } = state.now;
  if (typeof wanted === "function") return new Set(samples.filter(wanted).map(({ number }) => number));
  const known = new Set([
    ...[...samples, ...aside].map(({ number }) => number),
    ...versions.flatMap(({ learned }) => learned),
  ]);
  const unknown = wanted.find((number) => !known.has(number));
  if (unknown !== undefined) {
    throw new StateError(`no sample ${unknown}: it was never stored or learnt from, nothing was unlearned`);
  }
  return new Set(wanted);
}

/** Numbers of the samples whose label is the class `name`, those set aside among them. */
export function ofClass(state: State, classes: readonly string[], name: string): ReadonlySet<number> {
  const { samples, aside } = state.now;
  const found = [
    ...samples.filter(({ label }) => classes[label] === name),
    ...aside.filter((one) => name && one.name === name),
  ];
  return new Set(found.map(({ number }) => number));
}

/** Removes the samples `gone`, and what they taught; `also` changes with them. They are gone when this resolves or rejects; a
 * replay that was cut off waits in `Runs.paused`. */
export async function unlearnSamples(
  state: State,
  runs: Runs,
  gone: ReadonlySet<number>,
  running: Running,
  also: Partial<Content> = {},
): Promise<Unlearned> {
  const { samples, aside } = state.now;
  const left = {
    samples: samples.filter(({ number }) => !gone.has(number)),
    aside: aside.filter(({ number }) => !gone.has(number)),
  };
  return without(state, runs, gone, "samples", running, { ...also, ...left });
}

/** Takes the labels of `gone`, and what they taught; the samples stay, unlabelled. */
export async function unlearnLabels(
  state: State,
  runs: Runs,
  gone: ReadonlySet<number>,
  running: Running,
): Promise<Unlearned> {
  const none = { source: "none", label: UNLABELLED, weight: 1, confidence: null, before: null } as const;
  const samples = state.now.samples.map((one) => (gone.has(one.number) ? { ...one, ...none } : one));
  return without(state, runs, gone, "labels", running, { samples });
}

/** `what` goes of the samples `gone`, by `removed`. */
async function without(
  state: State,
  runs: Runs,
  gone: ReadonlySet<number>,
  what: "samples" | "labels",
  running: Running,
  removed: Partial<Content>,
): Promise<Unlearned> {
  const versions = new Versions(state);
  const { now } = state;
  const tainted = taintedBy(now.versions, gone, what === "labels");
  const lineage = versions.lineage(now.current);
  const clean = lineage.filter(({ number }) => !tainted.has(number));
  const root = clean.length === lineage.length ? now.current : await versions.newestIntact(clean);
  const again = clean.length === lineage.length ? [] : lineage.filter(({ number }) => number > root).reverse();
  const plan = planWithout(
    again,
    now.samples.filter(({ number }) => !gone.has(number)),
  );
  const settled = now.versions.map((one) => settledOf(one, tainted, what, plan !== null));
  const changes = { ...removed, current: again.length ? root : now.current, versions: settled };
  const text = lineOf(`${gone.size} ${what}`, tainted.size, again.length > 0, root, plan !== null);
  if (plan === null) await state.change(changes, "unlearn", text);
  else {
    const start = await runs.startAt(root);
    const candidate = await versions.begun(plan, root, start);
    const next = { ...now.next, version: candidate.number + 1 };
    await state.change({ ...changes, versions: [...settled, candidate], next }, "unlearn", text);
  }
  try {
    await runs.goToCurrent();
    const replay = plan === null ? null : await runs.resume(running);
    const numbers = [...gone].sort((one, other) => one - other);
    return { samples: numbers, versions: [...tainted], current: state.now.current, replay };
  } catch (error) {
    if (!(error instanceof StateError || error instanceof LearningError)) throw error;
    const waits = runs.paused === null ? "" : "; `resume` learns the rest anew";
    throw new StateError(
      `${gone.size} ${what} are gone and v${state.now.current} answers, but not all is done: ${error.message}${waits}`,
    );
  }
}

/** Versions that learnt from `gone`, with `byLabel` from labels that those had, and those that grew from one; parents come
 * first. */
function taintedBy(versions: readonly Version[], gone: ReadonlySet<number>, byLabel: boolean): Set<number> {
  const found = new Set<number>();
  for (const { number, parent, learned, plan } of versions) {
    const own = byLabel ? learned.filter((sample) => !plan?.unlabelled.includes(sample)) : learned;
    if (found.has(parent) || own.some((sample) => gone.has(sample))) found.add(number);
  }
  return found;
}

function settledOf(one: Version, tainted: ReadonlySet<number>, what: string, replayed: boolean): Version {
  const bare = { snapshot: null, guesses: {} };
  if (tainted.has(one.number) && ["accepted", "candidate", "dropped", "pruned"].includes(one.status)) {
    return { ...one, ...bare, status: "unlearned", why: `learnt from ${what} that were unlearned` };
  }
  if (replayed && one.status === "candidate") {
    return { ...one, ...bare, status: "dropped", why: "what it grew from was unlearned" };
  }
  return one;
}

/** The runs `again` as one, without what is gone; `left`: the samples that stay. null where nothing is left to draw. */
function planWithout(again: readonly Version[], left: readonly StoredSample[]): ResolvedPlan | null {
  const labels = new Map(left.map(({ number, label }) => [number, label]));
  const learned = new Set(again.flatMap((one) => one.learned));
  const samples = [...learned].filter((number) => labels.has(number)).sort((one, other) => one - other);
  const steps = again.reduce((all, { progress }) => all + progress.steps, 0);
  const last = again.flatMap(({ plan }) => plan ?? []).at(-1);
  if (!samples.length || !steps || last === undefined) return null;
  const unlabelled = samples.filter((number) => (labels.get(number) ?? -1) < 0);
  if (unlabelled.length === samples.length && !last.rounds) return null;
  return { ...last, samples, unlabelled, budget: { steps }, once: false };
}

function lineOf(gone: string, versions: number, back: boolean, root: number, replayed: boolean): string {
  const where = back
    ? `, back to v${root}${root === BASE ? ", the base" : ""}${replayed ? ", the rest follows" : ""}`
    : "";
  return `${gone} and ${versions} versions that learnt from them were unlearned${where}`;
}
