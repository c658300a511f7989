// Samples, the runs that learn from them, and the way back. A run is a transaction that the guard decides.

import type { Samples } from "../../bundle/packs.js";
import type { Plan, StoredSample, Version } from "../record.js";
import type { RunResult, Running } from "../runs/runs.js";
import { stream, waiting, type Streaming } from "../runs/stream.js";
import { chosen, unlearnSamples, type Unlearned } from "../runs/unlearn.js";
import { addSamples, type Adding } from "../samples.js";
import { Classes } from "./classes.js";

export class Learning extends Classes {
  /** Stores samples, all or none; their numbers. Throws SampleError for any that does not fit. */
  async add(samples: Samples, adding: Adding = {}): Promise<number[]> {
    this.runs.requireRest();
    return addSamples(this.state, this.bundle.manifest, samples, adding);
  }

  /** Removes stored samples; what they taught stays in the versions. */
  async remove(numbers: readonly number[]): Promise<void> {
    this.runs.requireRest();
    const samples = this.samples.filter(({ number }) => !numbers.includes(number));
    await this.state.change({ samples }, "samples", `${this.samples.length - samples.length} samples were removed`);
  }

  /** Removes samples, by number or by what is known of them, and what they taught: every version that learnt from one loses its
   * snapshot, and the runs since are done again without them, as one, which the guard judges. Throws StateError for a number that
   * never was, and nothing is removed then. */
  async unlearn(
    samples: readonly number[] | ((sample: StoredSample) => boolean),
    running: Running = {},
  ): Promise<Unlearned> {
    return this.moved(() => unlearnSamples(this.state, this.runs, chosen(this.state, samples), running));
  }

  /** Numbers of the labelled samples that no run has drawn from yet, oldest first. */
  get waiting(): readonly number[] {
    return waiting(this.state);
  }

  /** One run of `plan` on the sample store, and the guard's verdict.
   *
   * Until the verdict the current version stays what it was, also through a crash; an unfinished run is saved every `saveEvery`
   * steps, waits in `paused` and goes on with `resume`, as if nothing had happened. Throws LearningError, SampleError. */
  async learn(plan: Plan = {}, running: Running = {}): Promise<RunResult> {
    return this.moved(() => this.runs.begin(plan, running));
  }

  /** One pass: stores `samples` as they come, and runs `plan` each time `every` labelled ones wait, each of them in one step
   * only. What is left over waits for the next call. Throws LearningError, SampleError. */
  async stream(samples: Samples, streaming: Streaming = {}, running: Running = {}): Promise<RunResult[]> {
    return this.moved(() => stream(this.state, this.learner, this.runs, samples, streaming, running));
  }

  /** The unfinished run, of a `signal` or of a program that ended; null where there is none. */
  get paused(): Version | null {
    return this.runs.paused;
  }

  /** Goes on with the unfinished run from its last save. Throws LearningError where there is none. */
  async resume(running: Running = {}): Promise<RunResult> {
    return this.moved(() => this.runs.resume(running));
  }

  /** Drops the unfinished run. Throws LearningError where there is none. */
  async discard(why = "discarded by the owner"): Promise<void> {
    this.runs.requireRest();
    await this.runs.drop(this.runs.requirePaused().number, why);
  }

  /** Makes an accepted version current, by default the newest intact one that the current grew from; its number. 0 is the base. An
   * unfinished run is dropped. The guard is not asked. */
  async rollBack(version?: number): Promise<number> {
    return this.moved(() => this.runs.rollBack(version));
  }

  /** Makes the base current; samples, older versions and the log stay. */
  async reset(): Promise<void> {
    await this.rollBack(0);
  }
}
