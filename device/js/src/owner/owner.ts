// One owner's mentee: it answers, stores samples, learns as a transaction that the guard decides, and can go back.
//
// The parameters that answer are always those of the current version. Axes: N samples, K classes, D embedding.

import { Monitor } from "../anomaly/monitor.js";
import type { Judged, Watch } from "../anomaly/normal.js";
import type { Bundle } from "../bundle/bundle.js";
import type { Samples } from "../bundle/packs.js";
import { taughtOf, unnamedOf } from "../bundle/manifest/spare.js";
import { SampleError, elementsOf, requireScale, samplesIn, type Input } from "../bundle/preprocess.js";
import { answer, columnsOf, softmax, type Answers } from "../guard/answers.js";
import { Learner, type Prediction } from "../learner/learner.js";
import type { Runtime, SessionOptions } from "../learner/runtime.js";
import { Enrolment, type Recognised } from "../prototypes/enrolment.js";
import { merge, type Merged } from "../relocate/merge.js";
import { migrate, type Migrated } from "../relocate/migrate.js";
import { MemoryStorage } from "../storage/memory.js";
import type { Storage } from "../storage/storage.js";
import type { Entry, Plan, Settings, StoredSample, Version } from "./record.js";
import { Runs, type RunResult, type Running } from "./runs/runs.js";
import { addSamples, bytesOf, readInput, type Adding } from "./samples.js";
import { checkSettings } from "./settings.js";
import { readState, filled } from "../portable/reading.js";
import { writeState } from "../portable/writing.js";
import { storedBase } from "./base.js";
import { carried, named, renamed } from "./class-names.js";
import { State, StateError } from "./state.js";
import { chosen, ofClass, unlearnSamples, type Unlearned } from "./runs/unlearn.js";

/** `key`: 32 bytes that the file is encrypted with; `replace`: in place of the state that the storage holds. */
export interface Importing extends SessionOptions {
  readonly key?: Uint8Array;
  readonly replace?: boolean;
}

export interface Migrating extends SessionOptions {
  readonly steps?: number;
  readonly onProgress?: NonNullable<Running["onProgress"]>;
}

/** The mentee of a bundle as this owner's storage has it. One program at a time; call one method at a time. */
export class Owner {
  private readonly runs: Runs;
  private enrolment: Enrolment | null = null; // under the current version

  private constructor(
    readonly learner: Learner,
    private readonly state: State,
  ) {
    this.runs = new Runs(learner, state);
  }

  /** Its manifest has the names that the owner gave to spare classes. */
  get bundle(): Bundle {
    return this.learner.bundle;
  }

  /** Throws BundleError, StateError. */
  static async open(bundle: Bundle, runtime: Runtime, storage: Storage, options: SessionOptions = {}): Promise<Owner> {
    const learner = await Learner.open(bundle, runtime, options);
    try {
      return await Owner.on(learner, await State.open(storage, bundle.manifest.id));
    } catch (error) {
      await learner.close();
      throw error;
    }
  }

  /** What `exportState` gave on another device, or the Python program's `export-state`: goes on here as it would have there. `storage`
   * is empty, or with `replace` holds a state, which goes for good. A program that dies on the way leaves what was there. Throws
   * BundleError, and StateError for a file that does not fit. */
  static async importState(
    file: Uint8Array,
    bundle: Bundle,
    runtime: Runtime,
    storage: Storage,
    { key, replace = false, ...options }: Importing = {},
  ): Promise<Owner> {
    const found = await readState(file, bundle.manifest, key ?? null);
    const held = await State.held(storage);
    if (held !== null && !replace) {
      throw new StateError(
        `the storage is not empty, it holds ${held}: give an empty one, or replace it (replace: true)`,
      );
    }
    const learner = await Learner.open(bundle, runtime, options);
    try {
      return await Owner.on(learner, await filled(storage, bundle.manifest, found, held));
    } catch (error) {
      await learner.close();
      throw error;
    }
  }

  /** An app update: the state in `storage`, of an older bundle, becomes one of `bundle`, with what was learnt where that helps; the
   * older bundle is not needed, and no Owner may be open on the storage. Until the last write the old bundle's state is there, as it
   * was. `steps` of the replay: by default as many as were learnt. Throws StateError, LearningError, BundleError. */
  static async migrate(
    bundle: Bundle,
    runtime: Runtime,
    storage: Storage,
    { steps, onProgress, ...options }: Migrating = {},
  ): Promise<{ readonly owner: Owner; readonly migrated: Migrated }> {
    const state = await State.open(storage, null);
    const learner = await Learner.open(bundle, runtime, options);
    learner.name(carried(state.now, bundle.manifest));
    try {
      const migrated = await migrate(state, learner, onProgress === undefined ? {} : { onProgress }, steps);
      return { owner: await Owner.on(learner, state), migrated };
    } catch (error) {
      await learner.close();
      throw error;
    }
  }

  private static async on(learner: Learner, state: State): Promise<Owner> {
    learner.name(state.now.names);
    const owner = new Owner(learner, state);
    if (state.now.base === null) await state.change({ base: await storedBase(state, learner) }, "base");
    await owner.runs.goToCurrent();
    return owner;
  }

  /** All of it as one file, for `importState`, the Python program's `import-state` or `merge` on another of the owner's devices;
   * encrypted under `key`, 32 random bytes, where there is one. docs/device-state.md has its format. */
  async exportState(key?: Uint8Array): Promise<Uint8Array> {
    this.runs.requireRest();
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
    const { manifest } = this.bundle;
    const [place, names] = named(manifest, name, number);
    if (names === manifest.names) return place;
    const text = `class ${place} is called ${JSON.stringify(name)}`;
    await this.state.change(renamed(this.state.now, manifest, names), "class", text);
    this.learner.name(names);
    return place;
  }

  /** Unlearns every sample of a class, those set aside among them, removes what was enrolled of it, and frees the spare class that
   * has this name: nothing answers it, and another class may have it. */
  async removeClass(name: string, running: Running = {}): Promise<Unlearned> {
    this.runs.requireRest();
    const { manifest } = this.bundle;
    const gone = ofClass(this.state, manifest.classes, name);
    if (this.state.now.enrolled.some((one) => one.name === name)) await this.removeEnrolled(name);
    else if (!gone.size && !manifest.classes.includes(name))
      throw new SampleError(`there is no class ${JSON.stringify(name)}, nothing was removed`);
    return this.moved(async () => {
      const left = Object.entries(manifest.names).filter(([, given]) => given !== name);
      const also = renamed(this.state.now, manifest, Object.fromEntries(left));
      const lostNames = this.state.now.lostNames.filter((one) => one !== name);
      try {
        return await unlearnSamples(this.state, this.runs, gone, running, { ...also, lostNames });
      } finally {
        this.learner.name(this.state.now.names);
      }
    });
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
    const rules = this.bundle.manifest.preprocessing;
    const N = samplesIn(input, rules);
    requireScale(input, rules);
    if (!N) throw new SampleError(`no sample to enrol as ${JSON.stringify(name)}: expected at least one`);
    const { next, enrolled } = this.state.now;
    const numbers = Array.from({ length: N }, (_, row) => next.enrolled + row);
    const enrolment = await this.enrolmentNow();
    this.enrolment = null; // of what is stored, should anything fail from here on
    enrolment.add(name, (await this.learner.predict(input)).embedding, numbers);
    const dtype = input instanceof Uint8Array ? "uint8" : "float32";
    const added = [];
    for (const [row, number] of numbers.entries()) {
      const piece = await this.state.put(`enrolled-${number}`, bytesOf(input, elementsOf(rules), row));
      added.push({ ...piece, number, name, dtype } as const);
    }
    const left = new Set(enrolment.numbers());
    const changes = {
      enrolled: [...enrolled, ...added].filter(({ number }) => left.has(number)),
      next: { ...next, enrolled: next.enrolled + N },
    };
    await this.state.change(changes, "enrol", `${N} samples were enrolled as ${JSON.stringify(name)}`);
    this.enrolment = enrolment;
    return numbers;
  }

  /** Removes an enrolled class, and every sample of it. */
  async removeEnrolled(name: string): Promise<void> {
    this.runs.requireRest();
    const enrolled = this.state.now.enrolled.filter((one) => one.name !== name);
    await this.state.change({ enrolled }, "enrol", `the enrolled samples of ${JSON.stringify(name)} were removed`);
    this.enrolment = null;
  }

  /** Among the bundle's and the enrolled classes, by embedding and the mentee's own answer, behind the rails of the settings;
   * `floor`: the cosine below which the answer is "don't know". */
  async recognise(input: Input, floor = -1): Promise<Recognised> {
    this.runs.requireRest();
    requireScale(input, this.bundle.manifest.preprocessing);
    const { logits, embedding } = await this.learner.predict(input);
    const { classes, spare } = this.bundle.manifest;
    const taught = columnsOf(logits, classes.length, classes.length - spare.length);
    const own = softmax(taught, classes.length - spare.length);
    const near = (await this.enrolmentNow()).recognise(embedding, { floor, softmax: own });
    const blocked = new Set(this.settings.blocked.map((name) => near.names.indexOf(name)));
    const railed = answer(near.probability, near.names.length, blocked, this.settings.confidenceFloor);
    return { ...near, classes: near.classes.map((place, row) => (place < 0 ? place : (railed.classes[row] ?? -1))) };
  }

  /** Takes samples in as normal, until the watch's period ends; how many. `watch` begins anew; `now` in seconds, by default the
   * clock's. Embeddings are the base's, which learning does not move. Throws SampleError. */
  async observe(input: Input, watch?: Watch, now?: number): Promise<number> {
    this.runs.requireRest();
    requireScale(input, this.bundle.manifest.preprocessing);
    return new Monitor(this.state, this.learner).observe(input, watch, now);
  }

  /** Flags samples that deviate from what was observed, by their distance to it. Throws SampleError. */
  async anomaly(input: Input): Promise<Judged> {
    this.runs.requireRest();
    requireScale(input, this.bundle.manifest.preprocessing);
    return new Monitor(this.state, this.learner).judge(input);
  }

  /** Ends observing now (false), or observes for one more period. */
  async setObserving(observing: boolean): Promise<void> {
    this.runs.requireRest();
    await new Monitor(this.state, this.learner).set(observing);
  }

  /** Deletes what was observed. */
  async stopObserving(): Promise<void> {
    this.runs.requireRest();
    await new Monitor(this.state, this.learner).stop();
  }

  get settings(): Settings {
    return this.state.now.settings;
  }

  /** Changes settings. Throws LearningError for what makes no sense. */
  async set(changes: Partial<Settings>): Promise<void> {
    const settings = { ...this.settings, ...changes };
    checkSettings(settings, changes, this.bundle.manifest);
    await this.state.change({ settings }, "settings", JSON.stringify(changes));
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
      this.enrolment = null;
    }
  }

  /** Under the current version: the enrolled samples embedded anew where that has changed. */
  private async enrolmentNow(): Promise<Enrolment> {
    if (this.enrolment !== null) return this.enrolment;
    const { samples } = await this.learner.supervision();
    const base = await this.learner.predict(samples.input);
    const enrolment = new Enrolment(taughtOf(this.bundle.manifest), base.embedding, samples.labels);
    for (const one of this.state.now.enrolled) {
      const { embedding } = await this.learner.predict(await readInput(this.state, one));
      enrolment.add(one.name, embedding, [one.number]);
    }
    return (this.enrolment = enrolment);
  }
}
