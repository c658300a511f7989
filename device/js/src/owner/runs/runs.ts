// Runs of learning on a state, one at a time: a candidate, saved as it goes, until the guard decides.

import { KNOBS } from "../../bundle/manifest/inputs.js";
import { SampleError } from "../../bundle/preprocess.js";
import type { HeldOut } from "../../guard/holdout.js";
import { LearningError, type Learner, type Terms } from "../../learner/learner.js";
import { writeSnapshot, type Snapshot } from "../../learner/snapshot.js";
import { answersOf, closeAnswers } from "../../online/answers.js";
import { partOfTheWay } from "./interpolation.js";
import { resolved } from "./plan.js";
import { NOTHING_DONE, type Curve, type Plan, type ResolvedPlan, type Settings, type Version } from "../record.js";
import { answered } from "./replay.js";
import { Run } from "./run.js";
import { readSamples } from "../samples.js";
import { StateError, type State } from "../state.js";
import { askBase, before, judged, type Base, type Before } from "./verdict.js";
import { BASE, Versions } from "../versions.js";

/** After a step: `done` steps, the `fraction` of the run that is over, the step's loss and terms, and whether all is stored. */
export interface Progress {
  readonly done: number;
  readonly fraction: number;
  readonly terms: Terms;
  readonly saved: boolean;
}

/** The end of a run: version `number` was accepted and is current, dropped, or is paused; `why` says for what reason. Accuracies
 * are on the golden set, null where it was not asked; `heldOut`: what the run brought on the labels that it did not learn from.
 * `share`: how much of what the run changed was taken, 1 but where the setting `interpolate` had it taken in part. */
export interface RunResult {
  readonly number: number;
  readonly status: "accepted" | "dropped" | "paused";
  readonly why: string;
  readonly steps: number;
  readonly goldenBase: number | null;
  readonly goldenAfter: number | null;
  readonly first: Terms;
  readonly last: Terms;
  readonly heldOut: HeldOut | null;
  readonly share: number;
}

export interface Running {
  readonly onProgress?: (progress: Progress) => void;
  /** Ends the run after its step, to be resumed. */
  readonly signal?: AbortSignal;
}

type Judged = "status" | "why" | "goldenBase" | "goldenAfter" | "heldOut" | "share";

export class Runs {
  private running = false;
  private base: Base | null = null; // asked once
  private readonly versions: Versions;

  constructor(
    private readonly learner: Learner,
    private readonly state: State,
  ) {
    this.versions = new Versions(state);
  }

  requireRest(): void {
    if (this.running) throw new LearningError("a run is going on: end it first");
  }

  get paused(): Version | null {
    return this.running ? null : (this.state.now.versions.find(({ status }) => status === "candidate") ?? null);
  }

  requirePaused(): Version {
    const { paused } = this;
    if (paused === null) throw new LearningError("no run is unfinished: there is nothing to resume or discard");
    return paused;
  }

  async begin(plan: Plan, running: Running): Promise<RunResult> {
    if (this.paused !== null)
      throw new LearningError(`run v${this.paused.number} is unfinished: resume or discard it first`);
    const { settings, samples, current } = this.state.now;
    const whole = resolved(plan, settings, samples, new Set(this.versions.lineage(current).flatMap(learntLabels)));
    return this.guarded(async () => {
      const number = (this.state.beginning = this.state.now.next.version);
      const base = (this.base ??= await askBase(this.learner.bundle, this.learner)); // what answers meanwhile is the base
      if (plan.seed !== undefined) this.learner.seed(plan.seed);
      if (plan.learningRate !== undefined) this.learner.learningRate = plan.learningRate;
      const run = await this.runOf(whole, NOTHING_DONE, {}, base, number);
      const candidate = await this.versions.begun(whole, current, await this.learner.snapshot());
      const { next, versions } = this.state.now;
      const changes = { versions: [...versions, candidate], next: { ...next, version: candidate.number + 1 } };
      await this.state.change(changes, "run", `v${candidate.number} begins on ${run.describe()}`);
      this.state.beginning = null;
      return this.go(candidate, run, base, running);
    });
  }

  async resume(running: Running): Promise<RunResult> {
    const candidate = this.requirePaused();
    return this.guarded(async () => {
      const base = (this.base ??= await askBase(this.learner.bundle, this.learner));
      const snapshot = await this.versions.snapshotOf(candidate);
      if (snapshot === null) {
        await this.drop(candidate.number, "its snapshot is damaged");
        throw new StateError(`run v${candidate.number} is damaged and was dropped; v${this.state.now.current} answers`);
      }
      this.learner.restore(snapshot);
      if (candidate.plan === null) throw new StateError(`run v${candidate.number} has no plan: discard it`);
      const run = await this.runOf(candidate.plan, candidate.progress, candidate.guesses, base, candidate.number);
      return this.go(candidate, run, base, running);
    });
  }

  async drop(number: number, why: string): Promise<void> {
    await this.versions.settle(
      number,
      { status: "dropped", why, snapshot: null, guesses: {} },
      {},
      `v${number} was dropped: ${why}`,
    );
  }

  async rollBack(version?: number): Promise<number> {
    const { current } = this.state.now;
    const wanted = version ?? (await this.versions.newestIntact(this.versions.lineage(current).slice(1)));
    if (wanted !== BASE) {
      const found = this.versions.find(wanted);
      if (found?.status !== "accepted" || (await this.versions.snapshotOf(found)) === null) {
        throw new StateError(`there is no accepted version v${wanted} with a sound snapshot: nothing was changed`);
      }
    }
    if (this.paused !== null) await this.drop(this.paused.number, `the owner went back to v${wanted}`);
    await this.state.change({ current: wanted }, "rollback", `back from v${current} to v${wanted}`);
    await this.goToCurrent();
    return wanted;
  }

  /** The learner becomes the version that answers; where its snapshot is damaged, the newest intact one that it grew from does. */
  async goToCurrent(): Promise<void> {
    const { current } = this.state.now;
    if (current === BASE) return this.learner.reset();
    const snapshot = await this.versions.snapshotOf(this.versions.find(current));
    if (snapshot !== null) return this.learner.restore(snapshot);
    const next = await this.versions.newestIntact(this.versions.lineage(current).slice(1));
    await this.versions.settle(
      current,
      { status: "damaged", snapshot: null },
      { current: next },
      `v${current} is damaged: v${next} answers now`,
    );
    return this.goToCurrent();
  }

  /** The mentee that a run from version `root` begins with: its snapshot, or the base's; the learning rate is that of now. */
  async startAt(root: number): Promise<Snapshot> {
    const { learningRate } = this.learner;
    const snapshot = root === BASE ? null : await this.versions.snapshotOf(this.versions.find(root));
    if (snapshot === null) this.learner.reset();
    else this.learner.restore(snapshot);
    this.learner.learningRate = learningRate;
    return this.learner.snapshot();
  }

  /** Whatever goes wrong in a run, the current version answers afterwards. */
  private async guarded(run: () => Promise<RunResult>): Promise<RunResult> {
    this.requireRest();
    this.running = true;
    try {
      const result = await run();
      if (result.status !== "accepted") await this.goToCurrent();
      return result;
    } catch (error) {
      await this.goToCurrent();
      throw error;
    } finally {
      this.running = false;
      this.state.beginning = null;
    }
  }

  /** `number`: of the run. An answer of the mentor that came since it was asked for is for the next one. */
  private async runOf(
    plan: ResolvedPlan,
    done: Version["progress"],
    guesses: Version["guesses"],
    base: Base,
    number: number,
  ): Promise<Run> {
    const { manifest } = this.learner.bundle;
    await closeAnswers(this.state, this.learner);
    const [samples, weights, numbers] = await readSamples(this.state, manifest, plan.samples);
    const pack = await this.learner.supervision();
    const replay = answered(pack, plan.replay, base.replayLogits, manifest.classes.length);
    const labels = samples.labels.slice(); // a label that came since the run began is for the next run
    numbers.forEach((number, row) => void (plan.unlabelled.includes(number) && (labels[row] = -1)));
    const drawn = plan.samples.filter((one) => !plan.unlabelled.includes(one)).slice(0, done.samples);
    const left = plan.once ? { ...done, samples: drawn.filter((one) => numbers.includes(one)).length } : done;
    const answers = await answersOf(this.state, manifest, numbers, number);
    return new Run(this.learner, plan, { ...samples, labels }, numbers, weights, replay, left, guesses, answers);
  }

  private async go(candidate: Version, run: Run, base: Base, { onProgress, signal }: Running): Promise<RunResult> {
    const { number } = candidate;
    const { plan } = run;
    let due = false;
    try {
      while (run.fraction < 1 && !(signal?.aborted && !this.learner.collecting)) {
        const terms = await run.step(knobsOf(this.state.now.settings));
        due ||= run.done.steps % plan.saveEvery === 0;
        const saved: boolean = due && run.fraction < 1 && !this.learner.collecting;
        if (saved) await this.save(number, run);
        due &&= !saved;
        onProgress?.({ done: run.done.steps, fraction: run.fraction, terms, saved });
      }
      await this.learner.endCollecting(); // a step that the end of the run cut short
      const about = { number, steps: run.done.steps, first: run.first, last: run.last };
      if (run.fraction >= 1) return { ...about, ...(await this.verdict(candidate, run, base)) };
      await this.save(number, run, `v${number} is paused after ${run.done.steps} steps`);
      return { ...about, status: "paused", why: "", goldenBase: null, goldenAfter: null, heldOut: null, share: 1 };
    } catch (error) {
      const ours = error instanceof LearningError || error instanceof SampleError;
      if (ours && this.state.now.current !== number) await this.drop(number, error.message);
      throw error;
    }
  }

  /** The guard's hearing, and what becomes of the candidate. */
  private async verdict(candidate: Version, run: Run, base: Base): Promise<Pick<RunResult, Judged>> {
    const { number, plan, parent } = { ...candidate, plan: run.plan };
    const { settings, samples } = this.state.now;
    const there = new Set(
      samples.filter(({ source, label }) => source === "owner" && label >= 0).map((one) => one.number),
    );
    const [held] = await readSamples(
      this.state,
      this.learner.bundle.manifest,
      plan.held.filter((one) => there.has(one)),
    );
    const end = await this.learner.snapshot();
    const start = await this.versions.snapshotOf(this.versions.find(parent));
    const was = parent === BASE || start !== null ? await this.before(start, end, held, run) : null;
    const names = this.learner.bundle.manifest.classes;
    const judge = () => judged(base, this.learner, was, settings, names);
    let [found, share] = [await judge(), 1];
    const against = found.reasons.join("; ");
    if (against && settings.interpolate && was !== null) {
      const part = await partOfTheWay(this.learner, start, end, judge);
      if (part !== null) [share, found] = part;
    }
    const { reasons, goldenBase, goldenAfter, heldOut, evidence } = found;
    const taken = `, ${Math.round(100 * share)}% of the way, for all of it: ${against}`;
    const why = share === 1 ? found.why : `${found.why}${taken}`;
    const result = { why, goldenBase, goldenAfter, heldOut, share };
    const about = { progress: run.done, verdict: evidence, why };
    const { current } = this.state.now;
    if (reasons.length) {
      const text = `v${number} was dropped after ${run.done.steps} steps, v${current} stays: ${why}`;
      await this.versions.settle(number, { ...about, status: "dropped", snapshot: null, guesses: {} }, {}, text);
      return { status: "dropped", ...result };
    }
    const verdict = { ...evidence, share };
    const text = `v${number} is current after ${run.done.steps} steps on ${run.describe()}: ${why}`;
    await this.versions.accept(number, await this.learner.snapshot(), { ...about, verdict }, text);
    return { status: "accepted", ...result };
  }

  /** Of the mentee at `start` (null: the base); the learner ends at `end`. */
  private async before(start: Snapshot | null, end: Snapshot, held: Before["held"], run: Run): Promise<Before> {
    if (start === null) this.learner.reset();
    else this.learner.restore(start);
    const found = await before(this.learner, held, run.samples);
    this.learner.restore(end);
    return found;
  }

  private async save(number: number, run: Run, text = ""): Promise<void> {
    const snapshot = await this.state.put(`version-${number}`, await writeSnapshot(await this.learner.snapshot()));
    const about = { snapshot, progress: run.done, step: this.learner.step, guesses: run.guesses };
    await this.versions.settle(number, about, {}, text);
  }
}

/** Samples whose label a version's own run learnt from. */
export function learntLabels({ learned, plan }: Version): number[] {
  return learned.filter((number) => !plan?.unlabelled.includes(number));
}

/** The knobs that the settings name. */
export function knobsOf(settings: Settings): Partial<Record<string, Curve>> {
  return Object.fromEntries(KNOBS.flatMap((name) => (settings[name] === null ? [] : [[name, settings[name]]])));
}
