// An app update brings a new base, and the state migrates to it with what was learnt where that helps.
//
// Up to two mentees of the new base are made from what was learnt on the old one (candidates.ts), held against the new base itself,
// and the best is taken. All of it is written in one change at the end: until then, through any crash, the state belongs to the old
// bundle. Axes: N samples.

import type { Samples } from "../bundle/packs.js";
import { SampleError } from "../bundle/preprocess.js";
import { LearningError, type Learner } from "../learner/learner.js";
import { Random } from "../learner/random.js";
import { readSnapshot, writeSnapshot, type Snapshot } from "../learner/snapshot.js";
import { storedBase } from "../owner/base.js";
import { forgotten } from "../owner/asked.js";
import { lostOn } from "../owner/class-names.js";
import { STEPS } from "../owner/runs/plan.js";
import {
  NOTHING_DONE,
  storedRandom,
  type Content,
  type Done,
  type EnrolledSample,
  type ResolvedPlan,
  type StoredBase,
  type StoredWatch,
  type Version,
} from "../owner/record.js";
import { answered, type Answered } from "../owner/runs/replay.js";
import { Run } from "../owner/runs/run.js";
import { knobsOf, type Running } from "../owner/runs/runs.js";
import { inputOf, bytesOf } from "../owner/samples.js";
import { StateError, clock, type State } from "../owner/state.js";
import { right } from "../owner/runs/verdict.js";
import { BASE, Versions } from "../owner/versions.js";
import { Judge, above, holdOut, scoreInWords, transferred, type Score } from "./candidates.js";
import { MigratedSamples, refit, sameSamples, type Item } from "./samples.js";

/** `taken` is replay, delta or base; version `number` is current, 0 where nothing learnt was taken. `scores` of all that was
 * compared, `why` in words, `aside`: numbers of the samples that the new base cannot use. */
export interface Migrated {
  readonly taken: "replay" | "delta" | "base";
  readonly number: number;
  readonly why: string;
  readonly scores: Readonly<Record<string, Score>>;
  readonly aside: readonly number[];
}

/** A mentee of the new base that could become current, and the samples that taught it. */
interface Candidate {
  readonly name: "replay" | "delta";
  readonly snapshot: Snapshot;
  readonly learned: readonly number[];
  readonly plan: ResolvedPlan;
  readonly done: Done;
  readonly score: Score;
}

/** Moves `state`, of an older bundle, to that of `learner`, which ends at its base; replays for `steps`, by default as many as the
 * current version has learnt for. Throws StateError, LearningError, BundleError; nothing is changed then. */
export async function migrate(state: State, learner: Learner, running: Running, steps?: number): Promise<Migrated> {
  const { manifest } = learner.bundle;
  const { base: old, bundle: before, enrolled, names, answers, asked } = state.now;
  if (before === manifest.id) {
    throw new StateError(`the state is on bundle ${before.slice(0, 12)}… already: there is nothing to migrate`);
  }
  if (old === null)
    throw new StateError(
      `the state does not hold what its bundle ${before.slice(0, 12)}… was like: open it once with that`,
    );
  if (enrolled.length && !sameSamples(old.preprocessing, manifest.preprocessing)) {
    throw new StateError(
      `${enrolled.length} enrolled samples are of another shape or dtype than the new base takes: remove them first, or stay with ` +
        "the old bundle; nothing was changed",
    );
  }
  if (!(await learner.bundle.golden()).labels.length) {
    throw new LearningError("the new bundle's golden set is empty, so nothing can guard a run: export it with one");
  }
  const samples = new MigratedSamples(state, old, manifest);
  learner.reset();
  const comparison = await Comparison.of(state, old, samples, learner, running, steps);
  const [taken, why] = await comparison.decide();
  const changes = await written(state, old, samples, learner, taken, why);
  const aside = changes.aside.map(({ number }) => number);
  const lost = aside.length
    ? `; ${aside.length} samples are set aside: the new base has not their class, shape or dtype`
    : "";
  const nameless = changes.lostNames.filter((name) => Object.values(names).includes(name)).join(", ");
  const more = [
    ...(nameless ? [`it has no spare class for ${nameless}`] : []),
    ...(answers.length ? [`the answers of the former base's mentor to ${answers.length} samples went with it`] : []),
    ...(asked.waiting.length ? [`${asked.waiting.length} samples that waited for that mentor wait no longer`] : []),
  ];
  const moved = `from base ${before.slice(0, 12)} to base ${manifest.id.slice(0, 12)}, v${changes.current} is current`;
  const text = [`${moved}: ${why}${lost}`, ...more].join("; ");
  await state.change(changes, "migrate", text);
  return { taken: taken?.name ?? "base", number: changes.current, why, scores: comparison.scores, aside };
}

class Comparison {
  readonly scores: Record<string, Score> = {};
  private readonly versions: Versions;
  private readonly lineage: readonly Version[];
  private readonly learned: ReadonlySet<number>;
  private unlabelled: readonly Item[] = []; // that what was learnt had guessed
  private owner: Samples = { input: new Uint8Array(), labels: new Int32Array() };
  private before: readonly boolean[] | null = null;
  private replayed: Answered | null = null;

  private constructor(
    private readonly state: State,
    private readonly old: StoredBase,
    private readonly samples: MigratedSamples,
    private readonly learner: Learner,
    private readonly running: Running,
    private readonly steps: number | undefined,
    private readonly judge: Judge,
    private readonly fresh: Snapshot,
  ) {
    this.versions = new Versions(state);
    this.lineage = this.versions.lineage(state.now.current);
    this.learned = new Set(this.lineage.flatMap((one) => one.learned));
  }

  static async of(
    state: State,
    old: StoredBase,
    samples: MigratedSamples,
    learner: Learner,
    running: Running,
    steps: number | undefined,
  ): Promise<Comparison> {
    const judge = await Judge.of(learner, state.now.settings);
    return new Comparison(state, old, samples, learner, running, steps, judge, await learner.snapshot());
  }

  /** The winner, null for the new base as it is, and why: the rule stands in docs/device.md. */
  async decide(): Promise<[Candidate | null, string]> {
    if (!this.lineage.length)
      return [null, "nothing had been learnt on the old base, so the new one is taken as it is"];
    const tried = this.state.now.versions.filter(wasJudged).flatMap(({ learned }) => learned);
    const undone = new Set(tried.filter((number) => !this.learned.has(number)));
    const fitting = this.samples.items.filter(({ number, fits }) => fits && !undone.has(number));
    const labelled = fitting.filter(({ label }) => label >= 0);
    this.unlabelled = fitting.filter(({ number, label }) => label < 0 && this.learned.has(number));
    const held = holdOut(labelled, this.learned);
    const unseen = held.size > 0 && ![...held].some((number) => this.learned.has(number));
    const judged = held.size ? held : new Set(labelled.map(({ number }) => number));
    [this.owner] = await this.samples.read(judged);
    this.before = unseen ? await right(this.learner, this.owner) : null;
    const base = await this.judge.score(this.learner, this.owner, null);
    this.scores["base"] = base;
    const words = [`new base: ${scoreInWords(base)}`];
    let best: Candidate | null = null;
    for (const make of [() => this.replay(labelled, held, unseen), () => this.delta()]) {
      const name = words.length === 1 ? "replay" : "delta";
      try {
        const candidate = await make();
        const { score } = candidate;
        this.scores[name] = score;
        const against = score.reasons.join("; ") || (this.beats(score) ? "" : "no better than the new base");
        words.push(`${name}: ${scoreInWords(score)}${against ? `, refused: ${against}` : ""}`);
        if (!against && (best === null || above(score, best.score))) best = candidate;
      } catch (error) {
        if (!(error instanceof LearningError || error instanceof StateError || error instanceof SampleError))
          throw error;
        words.push(`${name}: not possible, ${error.message}`);
      }
    }
    const how = `on ${this.owner.labels.length} samples of the owner${unseen ? "" : ", which the old mentee had learnt"}`;
    return [best, `${best?.name ?? "the new base"} is taken (${words.join(", ")}; ${how})`];
  }

  private beats(score: Score): boolean {
    return score.owner === null || above(score, this.scores["base"] ?? score);
  }

  /** The ordinary run on the new base, judged without what is held out, then done again with all. */
  private async replay(labelled: readonly Item[], held: ReadonlySet<number>, unseen: boolean): Promise<Candidate> {
    if (!labelled.length && !this.unlabelled.length)
      throw new LearningError("no stored sample has a label that the new base knows");
    const part = await this.run(
      labelled.filter(({ number }) => !held.has(number)),
      this.before,
    );
    if (!held.size || part.score.reasons.length || !this.beats(part.score)) return part;
    const whole = await this.run(labelled, null);
    if (whole.score.reasons.length) return part;
    return unseen ? { ...whole, score: part.score } : whole;
  }

  private async run(labelled: readonly Item[], before: readonly boolean[] | null): Promise<Candidate> {
    const numbers = [...labelled, ...this.unlabelled].map(({ number }) => number).sort((one, other) => one - other);
    const unlabelled = this.unlabelled.map(({ number }) => number);
    const plan = { ...this.plan(numbers), unlabelled };
    const { learner } = this;
    const [samples, weights, there] = await this.samples.read(new Set(plan.samples));
    learner.restore(this.fresh);
    if (this.replayed === null) {
      const pack = await learner.supervision();
      const own = pack.samples.labels.length ? (await learner.predict(pack.samples.input)).logits : new Float32Array();
      this.replayed = answered(pack, plan.replay, own, learner.bundle.manifest.classes.length);
    }
    const run = new Run(learner, plan, samples, there, weights, this.replayed, NOTHING_DONE);
    while (run.fraction < 1) {
      const terms = await run.step(knobsOf(this.state.now.settings));
      this.running.onProgress?.({ done: run.done.steps, fraction: run.fraction, terms, saved: false });
    }
    await learner.endCollecting();
    return this.candidate("replay", plan, plan.samples, run.done, before);
  }

  /** Adds to the new base what learning had added to the old one. Moments begin anew. */
  private async delta(): Promise<Candidate> {
    const { current } = this.state.now;
    const personal = await this.versions.snapshotOf(this.versions.find(current));
    const stored = await this.state.get(this.old.parameters);
    if (personal === null || stored === null)
      throw new StateError(
        personal === null ? `version ${current} is damaged` : "the old base's parameters are damaged",
      );
    const { classes, head } = this.learner.bundle.manifest;
    const fresh = { state: this.fresh.state, classes, head };
    const old = { state: (await readSnapshot(stored)).state, classes: this.old.classes, head: this.old.head };
    const vectors = transferred(fresh, old, personal.state);
    if (vectors === null)
      throw new StateError("no parameter of the new base has the name and shape of one of the old base");
    this.learner.restore({ ...this.fresh, step: personal.step, state: { ...this.fresh.state, vectors } });
    const learned = [...this.learned].sort((one, other) => one - other);
    const done = { ...NOTHING_DONE, steps: stepsOf(this.lineage) };
    return this.candidate("delta", this.plan(learned), learned, done, this.before);
  }

  private async candidate(
    name: Candidate["name"],
    plan: ResolvedPlan,
    learned: readonly number[],
    done: Done,
    before: readonly boolean[] | null,
  ): Promise<Candidate> {
    const score = await this.judge.score(this.learner, this.owner, before);
    return { name, snapshot: await this.learner.snapshot(), learned, plan, done, score };
  }

  /** The plan of the newest run, over these samples, for the steps of all runs. */
  private plan(samples: readonly number[]): ResolvedPlan {
    const last = this.lineage.flatMap(({ plan }) => plan ?? [])[0];
    const budget = { steps: this.steps ?? stepsOf(this.lineage) };
    return { ...(last ?? PLAIN), samples, budget, once: false };
  }
}

/** Where nobody knows how a version was taught. */
export const PLAIN: ResolvedPlan = {
  samples: [],
  held: [],
  unlabelled: [],
  budget: { steps: STEPS },
  batch: 8,
  replayBatch: 16,
  ownerWeight: 4,
  knobs: {},
  once: false,
  saveEvery: 20,
  replay: "auto",
  rounds: 5,
  guessedBatch: 16,
  guessWeight: 1,
  holdout: 0,
};

/** False for an unfinished run, a damaged version, or one of an earlier base: nobody spoke against their samples. */
function wasJudged({ status, verdict }: Version): boolean {
  const reasons = verdict["reasons"];
  return ["accepted", "pruned", "dropped"].includes(status) || (Array.isArray(reasons) && reasons.length > 0);
}

function stepsOf(lineage: readonly Version[]): number {
  return lineage.reduce((all, { progress }) => all + progress.steps, 0) || STEPS;
}

/** The state on the new base; `learner` ends at that. */
async function written(
  state: State,
  old: StoredBase,
  samples: MigratedSamples,
  learner: Learner,
  taken: Candidate | null,
  why: string,
): Promise<Omit<Content, "change" | "log">> {
  const { manifest } = learner.bundle;
  const { now } = state;
  const versions: Version[] = now.versions.map((one) =>
    ["accepted", "candidate"].includes(one.status)
      ? { ...one, status: "superseded", why: "its base was replaced", snapshot: null, guesses: {} }
      : one,
  );
  let [current, next] = [BASE, now.next];
  if (taken !== null) {
    current = next.version;
    next = { ...next, version: current + 1 };
    const snapshot = await state.put(`version-${current}`, await writeSnapshot(taken.snapshot));
    versions.push({
      number: current,
      parent: BASE,
      status: "accepted",
      time: clock(),
      bundle: manifest.id,
      step: taken.snapshot.step,
      learned: taken.learned,
      plan: taken.plan,
      progress: taken.done,
      verdict: { update: { accuracy: taken.score.golden }, reasons: [] },
      why,
      identity: snapshot.sha256,
      snapshot,
      guesses: {},
    });
  }
  const blocked = now.settings.blocked.filter((name) => manifest.classes.includes(name));
  const { names } = manifest;
  const base = await storedBase(state, learner);
  return {
    bundle: manifest.id,
    base,
    names,
    lostNames: lostOn(now, manifest),
    ...(await samples.written()),
    versions,
    current,
    next,
    enrolled: await enrolledOn(state, old, learner),
    watch: now.watch === null ? null : await watchOn(state, now.watch, learner),
    answers: [], // of the former base's mentor
    asked: forgotten(now.asked),
    settings: { ...now.settings, blocked },
  };
}

async function enrolledOn(state: State, old: StoredBase, learner: Learner): Promise<EnrolledSample[]> {
  const rules = learner.bundle.manifest.preprocessing;
  const made: EnrolledSample[] = [];
  for (const one of state.now.enrolled) {
    const content = await state.get(one);
    if (content === null) throw new StateError(`${one.piece} is damaged: remove it first`);
    const input = refit(inputOf(content, one.dtype), old.preprocessing, rules);
    made.push({ ...one, ...(await state.put(`enrolled-${one.number}`, bytesOf(input, input.length, 0))) });
  }
  return made;
}

/** The same watch begins anew: of what was observed only embeddings under the old base are stored. */
async function watchOn(state: State, watch: StoredWatch, learner: Learner): Promise<StoredWatch> {
  const { input, labels } = await learner.bundle.golden();
  const { embedding } = await learner.predict(input.subarray(0, input.length / labels.length));
  return {
    ...watch,
    observing: true,
    seen: 0,
    first: null,
    last: null,
    ends: watch.samples,
    random: storedRandom(Random.seeded(watch.seed).state),
    size: embedding.length,
    stored: await state.put("watch", new Uint8Array()),
  };
}
