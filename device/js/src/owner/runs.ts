// Runs of learning on a state, one at a time: a candidate, saved as it goes, until the guard decides.

import type { Bundle } from "../bundle/bundle.js";
import type { Samples } from "../bundle/packs.js";
import { clearlyBetter, clearlyWorse, compared, inWords, type HeldOut } from "../guard/holdout.js";
import { judge, measure, type Measured } from "../guard/measures.js";
import { takeSamples } from "../learner/batch.js";
import { LearningError, type Learner, type Terms } from "../learner/learner.js";
import { SnapshotError, readSnapshot, writeSnapshot, type Snapshot } from "../learner/snapshot.js";
import { resolved, valueAt } from "./plan.js";
import type { Content, Plan, ResolvedPlan, Status, Version } from "./record.js";
import { answered, type Answered } from "./replay.js";
import { readSamples } from "./samples.js";
import { StateError, type State } from "./state.js";

const BASE = 0;

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

interface Asked {
  readonly golden: Samples;
  readonly goldenClasses: Int32Array; // of the base
  readonly replayLogits: Float32Array; // of the base
}

export class Runs {
  private running = false;
  private base: Asked | null = null; // what the base answers, asked once

  constructor(
    private readonly bundle: Bundle,
    private readonly learner: Learner,
    private readonly state: State,
  ) {}

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
    if (this.paused !== null) throw new LearningError(`run v${this.paused.number} is unfinished: resume or discard it first`);
    const { settings, samples, current, next, versions } = this.state.now;
    const whole = resolved(plan, settings, samples, new Set(this.lineage(current).flatMap(({ learned }) => learned)));
    const asked = await this.askBase();
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
      await this.state.change({ versions: [...versions, candidate], next: { ...next, version: number + 1 } }, "run", text);
      return this.go(candidate, asked, running);
    });
  }

  async resume(running: Running): Promise<RunResult> {
    const candidate = this.requirePaused();
    const asked = await this.askBase();
    return this.guarded(async () => {
      const snapshot = await this.snapshotOf(candidate);
      if (snapshot === null) {
        await this.drop(candidate.number, "its snapshot is damaged");
        throw new StateError(`run v${candidate.number} is damaged and was dropped; v${this.state.now.current} answers`);
      }
      this.learner.restore(snapshot);
      return this.go(candidate, asked, running);
    });
  }

  async drop(number: number, why: string): Promise<void> {
    await this.settle(number, { status: "dropped", why, snapshot: null }, {}, `v${number} was dropped: ${why}`);
  }

  async rollBack(version?: number): Promise<number> {
    const { current, versions } = this.state.now;
    const wanted = version ?? (await this.newestIntact(this.lineage(current).slice(1)));
    if (wanted !== BASE) {
      const found = versions.find(({ number }) => number === wanted);
      if (found?.status !== "accepted" || (await this.snapshotOf(found)) === null) {
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
    const { current, versions } = this.state.now;
    if (current === BASE) return this.learner.reset();
    const version = versions.find(({ number }) => number === current);
    const snapshot = version === undefined ? null : await this.snapshotOf(version);
    if (snapshot !== null) return this.learner.restore(snapshot);
    const next = await this.newestIntact(this.lineage(current).slice(1));
    await this.settle(current, { status: "damaged", snapshot: null }, { current: next }, `v${current} is damaged: v${next} answers now`);
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

  private async go(candidate: Version, asked: Asked, { onProgress, signal }: Running): Promise<RunResult> {
    const { plan, number } = candidate;
    const { manifest } = this.bundle;
    const [samples, weights] = await readSamples(this.state, manifest, plan.samples);
    const pack = await this.learner.supervision();
    const replay = answered(pack, plan.replay, asked.replayLogits, manifest.classes.length);
    const rows = Int32Array.from(samples.labels.keys());
    let [done, first, last]: [number, Terms, Terms] = [candidate.done, {}, {}];
    let due = false;
    try {
      while (done < plan.steps && !(signal?.aborted && !this.learner.collecting)) {
        const drawn = this.learner.draw(rows, plan.batch);
        last = await this.step(plan, done / plan.steps, takeSamples(manifest, samples, drawn), drawn, weights, replay);
        first = done === candidate.done ? last : first;
        done++;
        due ||= done % plan.saveEvery === 0;
        const saved: boolean = due && done < plan.steps && !this.learner.collecting;
        if (saved) await this.save(number, done);
        due &&= !saved;
        onProgress?.({ done, steps: plan.steps, terms: last, saved });
      }
      await this.learner.endCollecting(); // a step that the end of the run cut short
    } catch (error) {
      if (error instanceof LearningError) await this.drop(number, error.message);
      throw error;
    }
    const about = { number, steps: done, first, last };
    if (done < plan.steps) {
      await this.save(number, done, `v${number} is paused after ${done} steps`);
      return { ...about, status: "paused", why: "", goldenBase: null, goldenAfter: null, heldOut: null };
    }
    return { ...about, ...(await this.verdict(candidate, asked, done)) };
  }

  private async step(plan: ResolvedPlan, position: number, own: Samples, drawn: Int32Array, weights: Float32Array, replay: Answered): Promise<Terms> {
    const knobs = Object.fromEntries(Object.entries(plan.knobs).map(([name, curve]) => [name, valueAt(curve, position)]));
    if (plan.replay === "own") knobs["beta"] = 0;
    if (plan.replay === "auto") knobs["beta"] ??= 0;
    const shares = Float32Array.from(drawn, (row) => weights[row] ?? 1);
    const more = await this.learner.drawReplay(plan.replayBatch, replay(knobs["beta"] ?? this.bundle.manifest.knobs.beta));
    return this.learner.learnBatch(own, more, { ownerWeight: plan.ownerWeight, weights: shares, knobs });
  }

  /** The guard's hearing: the golden set, and the owner's held-out labels. */
  private async verdict(
    candidate: Version,
    asked: Asked,
    done: number,
  ): Promise<Pick<RunResult, "status" | "why" | "goldenBase" | "goldenAfter" | "heldOut">> {
    const { number, plan } = candidate;
    const { settings, versions } = this.state.now;
    const { classes } = this.bundle.manifest;
    const { golden, goldenClasses } = asked;
    const measured = (seen: Int32Array): Measured => measure(seen, golden.labels, goldenClasses, classes.length);
    const [held] = await readSamples(this.state, this.bundle.manifest, plan.held);
    const after = await this.right(held);
    const now = measured((await this.learner.predict(golden.input)).classes);
    const end = await this.learner.snapshot();
    const before = held.labels.length ? await this.rightBefore(candidate.parent, held, end) : null;
    const heard = before === null ? null : compared(before, after);
    const base = measured(goldenClasses);
    const reasons = judge(now, base, settings, classes, heard !== null && clearlyBetter(heard));
    const words = heard === null ? [] : [inWords(heard)];
    if (heard !== null && clearlyWorse(heard)) reasons.push(`worse for the owner, beyond chance: ${inWords(heard)}`);
    const figures = { goldenBase: base.accuracy, goldenAfter: now.accuracy, heldOut: heard };
    if (reasons.length) {
      const why = reasons.join("; ");
      await this.drop(number, why);
      return { status: "dropped", why, ...figures };
    }
    const why = [`golden accuracy ${base.accuracy.toFixed(4)} of the base -> ${now.accuracy.toFixed(4)}`, ...words].join("; ");
    const snapshot = await this.state.put(`version-${number}`, await writeSnapshot(end));
    const accepted = versions.filter(({ status }) => status === "accepted").map((one) => one.number);
    const pruned = accepted.slice(0, Math.max(0, accepted.length + 1 - settings.mostVersions));
    const left = versions.map((one) => (pruned.includes(one.number) ? { ...one, status: "pruned" as const, snapshot: null } : one));
    const text = `v${number} is current after ${done} steps: ${why}`;
    await this.settle(number, { status: "accepted", why, snapshot, done, step: end.step }, { current: number, versions: left }, text);
    return { status: "accepted", why, ...figures };
  }

  /** Of the mentee that the candidate grew from; the learner ends at `end`. null where that mentee is gone. */
  private async rightBefore(parent: number, held: Samples, end: Snapshot): Promise<boolean[] | null> {
    const version = this.state.now.versions.find(({ number }) => number === parent);
    const snapshot = version === undefined ? null : await this.snapshotOf(version);
    if (parent !== BASE && snapshot === null) return null;
    if (snapshot === null) this.learner.reset();
    else this.learner.restore(snapshot);
    const before = await this.right(held);
    this.learner.restore(end);
    return before;
  }

  private async right({ input, labels }: Samples): Promise<boolean[]> {
    if (!labels.length) return [];
    const seen = (await this.learner.predict(input)).classes;
    return Array.from(labels, (label, row) => seen[row] === label);
  }

  private async askBase(): Promise<Asked> {
    if (this.base !== null) return this.base;
    const golden = await this.bundle.golden();
    if (!golden.labels.length) throw new LearningError("the bundle's golden set is empty, so nothing can guard a run: export it with one");
    const pack = await this.learner.supervision();
    const now = await this.learner.snapshot();
    this.learner.reset();
    const goldenClasses = (await this.learner.predict(golden.input)).classes;
    const replayLogits = pack.samples.labels.length ? (await this.learner.predict(pack.samples.input)).logits : new Float32Array();
    this.learner.restore(now);
    return (this.base = { golden, goldenClasses, replayLogits });
  }

  private async save(number: number, done: number, text = ""): Promise<void> {
    const snapshot = await this.state.put(`version-${number}`, await writeSnapshot(await this.learner.snapshot()));
    await this.settle(number, { snapshot, done, step: this.learner.step }, {}, text);
  }

  private async settle(number: number, about: Partial<Version> & { status?: Status }, changes: Partial<Content>, text: string): Promise<void> {
    const versions = (changes.versions ?? this.state.now.versions).map((one) => (one.number === number ? { ...one, ...about } : one));
    await this.state.change({ ...changes, versions }, about.status ?? "saved", text);
  }

  /** null where it is gone or damaged. */
  private async snapshotOf({ snapshot }: Version): Promise<Snapshot | null> {
    const file = snapshot === null ? null : await this.state.get(snapshot);
    try {
      return file === null ? null : await readSnapshot(file);
    } catch (error) {
      if (error instanceof SnapshotError) return null;
      throw error;
    }
  }

  private async newestIntact(among: readonly Version[]): Promise<number> {
    for (const version of among) {
      if (version.status === "accepted" && (await this.snapshotOf(version)) !== null) return version.number;
    }
    return BASE;
  }

  /** A version and those it grew from, newest first, the base left out. */
  private lineage(number: number): Version[] {
    const found: Version[] = [];
    for (let at = number; at !== BASE; ) {
      const version = this.state.now.versions.find((one) => one.number === at);
      if (version === undefined) break;
      found.push(version);
      at = version.parent;
    }
    return found;
  }
}
