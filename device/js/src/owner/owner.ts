// One owner's mentee: it answers, stores samples, learns as a transaction that the guard decides, and can go back.
//
// The parameters that answer are always those of the current version. Axes: N samples, K classes, D embedding.

import { Monitor } from "../anomaly/monitor.js";
import type { Judged, Watch } from "../anomaly/normal.js";
import type { Bundle } from "../bundle/bundle.js";
import type { Samples } from "../bundle/packs.js";
import { unnamedOf } from "../bundle/manifest/spare.js";
import { requireScale, type Input } from "../bundle/preprocess.js";
import { answer, softmax, type Answers } from "../guard/answers.js";
import { guess, guesses, undoGuesses, type Guess } from "../labels/guessing.js";
import { GUESSED } from "../labels/pseudo-labels.js";
import type { GuessRules } from "../labels/rules.js";
import type { Learner, Prediction } from "../learner/learner.js";
import type { Runtime, SessionOptions } from "../learner/runtime.js";
import { closeAnswers } from "../online/answers.js";
import { Asking } from "../online/asking.js";
import { readState, filled } from "../portable/reading.js";
import { writeState } from "../portable/writing.js";
import type { Recognised } from "../prototypes/enrolment.js";
import { merge, type Merged } from "../relocate/merge.js";
import type { Migrated } from "../relocate/migrate.js";
import { MemoryStorage } from "../storage/memory.js";
import type { Storage } from "../storage/storage.js";
import { nameClass, removeClass } from "./naming.js";
import { imported, migrated, opened, type Importing, type Migrating, type Opened } from "./opening.js";
import { Recognition } from "./recognition.js";
import type { Entry, Plan, Settings, Source, StoredSample, Version } from "./record.js";
import type { RunResult, Running, Runs } from "./runs/runs.js";
import { stream, waiting, type Streaming } from "./runs/stream.js";
import { chosen, unlearnSamples, type Unlearned } from "./runs/unlearn.js";
import { addSamples, type Adding } from "./samples.js";
import { checkSettings } from "./settings.js";
import type { State } from "./state.js";

/** The mentee of a bundle as this owner's storage has it. One program at a time; call one method at a time. */
export class Owner {
  readonly learner: Learner;
  /** The queue for the mentor's service. */
  readonly asking: Asking;
  private readonly state: State;
  private readonly runs: Runs;
  private readonly monitor: Monitor;
  private readonly recognition: Recognition;

  private constructor({ learner, state, runs }: Opened) {
    [this.learner, this.state, this.runs] = [learner, state, runs];
    this.asking = new Asking(state, learner);
    this.monitor = new Monitor(state, learner);
    this.recognition = new Recognition(state, learner);
  }

  /** Its manifest has the names that the owner gave to spare classes. */
  get bundle(): Bundle {
    return this.learner.bundle;
  }

  /** Throws BundleError, StateError. */
  static async open(bundle: Bundle, runtime: Runtime, storage: Storage, options: SessionOptions = {}): Promise<Owner> {
    return new Owner(await opened(bundle, runtime, storage, options));
  }

  /** What `exportState` gave on another device, or the Python program's `export-state`: goes on here as it would have there. `storage`
   * is empty, or with `replace` holds a state, which goes for good. A program that dies on the way leaves what was there. Throws
   * BundleError, and StateError for a file that does not fit. */
  static async importState(
    file: Uint8Array,
    bundle: Bundle,
    runtime: Runtime,
    storage: Storage,
    importing: Importing = {},
  ): Promise<Owner> {
    return new Owner(await imported(file, bundle, runtime, storage, importing));
  }

  /** An app update: the state in `storage`, of an older bundle, becomes one of `bundle`, with what was learnt where that helps; the
   * older bundle is not needed, and no Owner may be open on the storage. Until the last write the old bundle's state is there, as it
   * was. `steps` of the replay: by default as many as were learnt. Throws StateError, LearningError, BundleError. */
  static async migrate(
    bundle: Bundle,
    runtime: Runtime,
    storage: Storage,
    migrating: Migrating = {},
  ): Promise<{ readonly owner: Owner; readonly migrated: Migrated }> {
    const found = await migrated(bundle, runtime, storage, migrating);
    return { owner: new Owner(found), migrated: found.migrated };
  }

  /** All of it as one file, for `importState`, the Python program's `import-state` or `merge` on another of the owner's devices;
   * encrypted under `key`, 32 random bytes, where there is one. docs/device-state.md has its format. */
  async exportState(key?: Uint8Array): Promise<Uint8Array> {
    this.runs.requireRest();
    await closeAnswers(this.state, this.learner);
    return writeState(this.state, this.bundle.manifest, key ?? null);
  }

  /** `input` of N samples, behind the rails of the settings. Throws SampleError. */
  async predict(input: Input): Promise<Answers & Pick<Prediction, "logits" | "embedding">> {
    this.runs.requireRest();
    requireScale(input, this.bundle.manifest.preprocessing);
    const { logits, embedding } = await this.learner.predict(input);
    const { manifest } = this.bundle;
    const K = manifest.classes.length;
    const { blocked, confidenceFloor } = this.settings;
    const places = new Set([...blocked.map((name) => manifest.classes.indexOf(name)), ...unnamedOf(manifest)]);
    return { ...answer(softmax(logits, K), K, places, confidenceFloor), logits, embedding };
  }

  /** Stores samples, all or none; their numbers. Throws SampleError for any that does not fit. */
  async add(samples: Samples, adding: Adding = {}): Promise<number[]> {
    this.runs.requireRest();
    return addSamples(this.state, this.bundle.manifest, samples, adding);
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

  /** Names by number, those that the owner gave among them; a spare class without one has the bundle's name. */
  get classes(): readonly string[] {
    return this.bundle.manifest.classes;
  }

  /** Names a spare class of the bundle, which from then on can be learnt and answered; its number, for labels. A name that one has
   * already gives that one's. `number`: another name for that spare class. Throws SampleError. */
  async nameClass(name: string, number?: number): Promise<number> {
    this.runs.requireRest();
    return nameClass(this.state, this.learner, name, number);
  }

  /** Unlearns every sample of a class, those set aside among them, removes what was enrolled of it, and frees the spare class that
   * has this name: nothing answers it, and another class may have it. */
  async removeClass(name: string, running: Running = {}): Promise<Unlearned> {
    return this.moved(() => removeClass(this.state, this.learner, this.runs, this.recognition, name, running));
  }

  /** Labels for samples that have none, each marked as a guess, at a quarter of a label's weight; the new ones. First the
   * mentor's, as its service answered or as it was recorded with the sample, then by `rules`. Throws SampleError. */
  async guess(rules: GuessRules = {}): Promise<Guess[]> {
    this.runs.requireRest();
    return guess(this.state, this.learner, rules);
  }

  /** All guesses that stand, and what they were guessed from. */
  get guesses(): readonly Guess[] {
    return guesses(this.state);
  }

  /** Takes guessed labels back, all or those of these samples and sources, and what they taught, as `unlearn` does; the samples
   * stay, unlabelled. Throws SampleError for one that has no guessed label. */
  async undoGuesses(
    samples?: readonly number[],
    sources: readonly Source[] = GUESSED,
    running: Running = {},
  ): Promise<Unlearned> {
    return this.moved(() => undoGuesses(this.state, this.runs, samples, sources, running));
  }

  /** Removes stored samples; what they taught stays in the versions. */
  async remove(numbers: readonly number[]): Promise<void> {
    this.runs.requireRest();
    const samples = this.samples.filter(({ number }) => !numbers.includes(number));
    await this.state.change({ samples }, "samples", `${this.samples.length - samples.length} samples were removed`);
  }

  get samples(): readonly StoredSample[] {
    return this.state.now.samples;
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

  /** Numbers of the labelled samples that no run has drawn from yet, oldest first. */
  get waiting(): readonly number[] {
    return waiting(this.state);
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

  /** Takes in what another device of this owner exported: docs/device.md, "Several devices of one owner". `key`: of an encrypted file.
   * Throws StateError, LearningError; nothing is changed then. */
  async merge(file: Uint8Array, key?: Uint8Array): Promise<Merged> {
    this.runs.requireRest();
    const { manifest } = this.bundle;
    const found = await readState(file, manifest, key ?? null);
    const theirs = await filled(new MemoryStorage(), manifest, found, null);
    return this.moved(async () => {
      try {
        return await merge(this.state, this.learner, theirs);
      } finally {
        this.learner.name(this.state.now.names);
        await this.runs.goToCurrent();
      }
    });
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

  /** 0 is the base. */
  get current(): number {
    return this.state.now.current;
  }

  get versions(): readonly Version[] {
    return this.state.now.versions;
  }

  /** Enrols samples of a class, of the bundle's or a new one, for `recognise`; their numbers. No step of training. */
  async enrol(name: string, input: Input): Promise<number[]> {
    this.runs.requireRest();
    return this.recognition.enrol(name, input);
  }

  /** Removes an enrolled class, and every sample of it. */
  async removeEnrolled(name: string): Promise<void> {
    this.runs.requireRest();
    return this.recognition.remove(name);
  }

  /** Among the bundle's and the enrolled classes, by embedding and the mentee's own answer, behind the rails of the settings;
   * `floor`: the cosine below which the answer is "don't know". */
  async recognise(input: Input, floor = -1): Promise<Recognised> {
    this.runs.requireRest();
    return this.recognition.recognise(input, floor);
  }

  /** Takes samples in as normal, until the watch's period ends; how many. `watch` begins anew; `now` in seconds, by default the
   * clock's. Embeddings are the base's, which learning does not move. Throws SampleError. */
  async observe(input: Input, watch?: Watch, now?: number): Promise<number> {
    this.runs.requireRest();
    requireScale(input, this.bundle.manifest.preprocessing);
    return this.monitor.observe(input, watch, now);
  }

  /** Flags samples that deviate from what was observed, by their distance to it. Throws SampleError. */
  async anomaly(input: Input): Promise<Judged> {
    this.runs.requireRest();
    requireScale(input, this.bundle.manifest.preprocessing);
    return this.monitor.judge(input);
  }

  /** Ends observing now (false), or observes for one more period. */
  async setObserving(observing: boolean): Promise<void> {
    this.runs.requireRest();
    await this.monitor.set(observing);
  }

  /** Deletes what was observed. */
  async stopObserving(): Promise<void> {
    this.runs.requireRest();
    await this.monitor.stop();
  }

  get settings(): Settings {
    return this.state.now.settings;
  }

  /** Changes settings. Throws LearningError for what makes no sense. */
  async set(changes: Partial<Settings>): Promise<void> {
    const changed = (now: Settings): Settings => ({ ...now, ...changes });
    checkSettings(changed(this.settings), changes, this.bundle.manifest);
    await this.state.change(({ settings }) => ({ settings: changed(settings) }), "settings", JSON.stringify(changes));
  }

  /** What was learnt when, and why it was accepted or dropped; oldest first. */
  get log(): readonly Entry[] {
    return this.state.now.log;
  }

  async close(): Promise<void> {
    await this.learner.close();
  }

  private async moved<T>(change: () => Promise<T>): Promise<T> {
    this.runs.requireRest();
    try {
      return await change();
    } finally {
      this.recognition.forget();
    }
  }
}
