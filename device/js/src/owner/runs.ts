// Runs of learning on a state, one at a time: a candidate, saved as it goes, until the guard decides.

import type { Bundle } from "../bundle/bundle.js";
import type { Samples } from "../bundle/packs.js";
import { SampleError } from "../bundle/preprocess.js";
import type { Knobs } from "../bundle/manifest/inputs.js";
import { compared, type HeldOut } from "../guard/holdout.js";
import { takeSamples } from "../learner/batch.js";
import { LearningError, type Learner, type Terms } from "../learner/learner.js";
import { writeSnapshot, type Snapshot } from "../learner/snapshot.js";
import { resolved, valueAt } from "./plan.js";
import type { Plan, ResolvedPlan, Version } from "./record.js";
import { answered, type Answered } from "./replay.js";
import { readSamples, type Stored } from "./samples.js";
import { StateError, type State } from "./state.js";
import { askBase, decided, right, type Base } from "./verdict.js";
import { BASE, Versions } from "./versions.js";

/** After a step: `done` of `steps`, the step's loss and terms, and whether all of it is stored. */
export interface Progress {
  readonly done: number;
  readonly steps: number;
  readonly terms: Terms;
  readonly saved: boolean;
}

/** The end of a run: version `number` was accepted and is current, dropped, or is paused; `why` says for what reason. Accuracies
 * are on the golden set, null where it was not asked; `heldOut`: what the run brought on the labels that it did not learn from. */
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
}

export interface Running {
  readonly onProgress?: (progress: Progress) => void;
  /** Ends the run after its step, to be resumed. */
  readonly signal?: AbortSignal;
}

type Judged = "status" | "why" | "goldenBase" | "goldenAfter" | "heldOut";

export class Runs {
  private running = false;
  private base: Base | null = null; // asked once
  private readonly versions: Versions;

  constructor(
    private readonly bundle: Bundle,
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
    const { settings, samples, current, next, versions } = this.state.now;
    const whole = resolved(
      plan,
      settings,
      samples,
      new Set(this.versions.lineage(current).flatMap(({ learned }) => learned)),
    );
    this.base ??= await askBase(this.bundle, this.learner);
    const { base } = this;
    const number = next.version;
    return this.guarded(async () => {
      if (plan.seed !== undefined) this.learner.seed(plan.seed);
      if (plan.learningRate !== undefined) this.learner.learningRate = plan.learningRate;
      const snapshot = await this.state.put(`version-${number}`, await writeSnapshot(await this.learner.snapshot()));
      const candidate: Version = {
        number,
        parent: current,
        status: "candidate",
        time: new Date().toISOString(),
        step: this.learner.step,
        learned: whole.samples,
        plan: whole,
        done: 0,
        why: "",
        snapshot,
      };
      const text = `v${number} begins on ${whole.samples.length} labelled samples`;
      await this.state.change(
        { versions: [...versions, candidate], next: { ...next, version: number + 1 } },
        "run",
        text,
      );
      return this.go(candidate, base, running);
    });
  }

  async resume(running: Running): Promise<RunResult> {
    const candidate = this.requirePaused();
    this.base ??= await askBase(this.bundle, this.learner);
    const { base } = this;
    return this.guarded(async () => {
      const snapshot = await this.versions.snapshotOf(candidate);
      if (snapshot === null) {
        await this.drop(candidate.number, "its snapshot is damaged");
        throw new StateError(`run v${candidate.number} is damaged and was dropped; v${this.state.now.current} answers`);
      }
      this.learner.restore(snapshot);
      return this.go(candidate, base, running);
    });
  }

  async drop(number: number, why: string): Promise<void> {
    await this.versions.settle(
      number,
      { status: "dropped", why, snapshot: null },
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

  /** Whatever goes wrong in a run, the current version answers afterwards. */
  private async guarded(run: () => Promise<RunResult>): Promise<RunResult> {
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
    }
  }

  private async go(candidate: Version, base: Base, { onProgress, signal }: Running): Promise<RunResult> {
    const { plan, number } = candidate;
    const { manifest } = this.bundle;
    const stored = await readSamples(this.state, manifest, plan.samples);
    const pack = await this.learner.supervision();
    const replay = answered(pack, plan.replay, base.replayLogits, manifest.classes.length);
    let [done, first, last]: [number, Terms, Terms] = [candidate.done, {}, {}];
    let due = false;
    try {
      while (done < plan.steps && !(signal?.aborted && !this.learner.collecting)) {
        last = await this.step(plan, done / plan.steps, stored, replay);
        first = done === candidate.done ? last : first;
        done++;
        due ||= done % plan.saveEvery === 0;
        const saved: boolean = due && done < plan.steps && !this.learner.collecting;
        if (saved) await this.save(number, done);
        due &&= !saved;
        onProgress?.({ done, steps: plan.steps, terms: last, saved });
      }
      await this.learner.endCollecting(); // a step that the end of the run cut short
      const about = { number, steps: done, first, last };
      if (done === plan.steps) return { ...about, ...(await this.verdict(candidate, base, done)) };
      await this.save(number, done, `v${number} is paused after ${done} steps`);
      return { ...about, status: "paused", why: "", goldenBase: null, goldenAfter: null, heldOut: null };
    } catch (error) {
      const ours = error instanceof LearningError || error instanceof SampleError;
      if (ours && this.state.now.current !== number) await this.drop(number, error.message);
      throw error;
    }
  }

  /** Draws a batch and learns from it; `position` is the fraction of the run that is over. */
  private async step(plan: ResolvedPlan, position: number, stored: Stored, replay: Answered): Promise<Terms> {
    const { manifest } = this.bundle;
    const curves = Object.entries(plan.knobs).map(([name, curve]) => [name, valueAt(curve, position)] as const);
    const knobs: Partial<Record<string, number>> = Object.fromEntries(curves);
    if (plan.replay === "own") knobs["beta"] = 0;
    if (plan.replay === "auto") knobs["beta"] ??= 0;
    const [samples, weights] = stored;
    const rows = this.learner.draw(Int32Array.from(samples.labels.keys()), plan.batch);
    const shares = Float32Array.from(rows, (row) => weights[row] ?? 1);
    const more = await this.learner.drawReplay(plan.replayBatch, replay(knobs["beta"] ?? manifest.knobs.beta));
    const mixing = { ownerWeight: plan.ownerWeight, weights: shares, knobs: knobs as Partial<Knobs> };
    return this.learner.learnBatch(takeSamples(manifest, samples, rows), more, mixing);
  }

  /** The guard's hearing, and what becomes of the candidate. */
  private async verdict(candidate: Version, base: Base, done: number): Promise<Pick<RunResult, Judged>> {
    const { number, plan, parent } = candidate;
    const { settings, versions } = this.state.now;
    const [held] = await readSamples(this.state, this.bundle.manifest, plan.held);
    const after = await right(this.learner, held);
    const seen = (await this.learner.predict(base.golden.input)).classes;
    const end = await this.learner.snapshot();
    const before = held.labels.length ? await this.rightBefore(parent, held, end) : null;
    const heldOut = before === null ? null : compared(before, after);
    const { reasons, why, goldenBase, goldenAfter } = decided(
      base,
      seen,
      heldOut,
      settings,
      this.bundle.manifest.classes,
    );
    const result = { why, goldenBase, goldenAfter, heldOut };
    if (reasons.length) {
      await this.drop(number, why);
      return { status: "dropped", ...result };
    }
    const snapshot = await this.state.put(`version-${number}`, await writeSnapshot(end));
    const accepted = versions.filter(({ status }) => status === "accepted").map((one) => one.number);
    const pruned = accepted.slice(0, Math.max(0, accepted.length + 1 - settings.mostVersions));
    const left = versions.map((one) =>
      pruned.includes(one.number) ? { ...one, status: "pruned" as const, snapshot: null } : one,
    );
    const about = { status: "accepted", why, snapshot, done, step: end.step } as const;
    const text = `v${number} is current after ${done} steps: ${why}`;
    await this.versions.settle(number, about, { current: number, versions: left }, text);
    return { status: "accepted", ...result };
  }

  /** Of the mentee that the candidate grew from; the learner ends at `end`. null where that mentee is gone. */
  private async rightBefore(parent: number, held: Samples, end: Snapshot): Promise<boolean[] | null> {
    const snapshot = await this.versions.snapshotOf(this.versions.find(parent));
    if (parent !== BASE && snapshot === null) return null;
    if (snapshot === null) this.learner.reset();
    else this.learner.restore(snapshot);
    const before = await right(this.learner, held);
    this.learner.restore(end);
    return before;
  }

  private async save(number: number, done: number, text = ""): Promise<void> {
    const snapshot = await this.state.put(`version-${number}`, await writeSnapshot(await this.learner.snapshot()));
    await this.versions.settle(number, { snapshot, done, step: this.learner.step }, {}, text);
  }
}
