// An owner's storage, opened: the learner, the state, and what is known of them without learning or answering.
//
// The rooms of an owner stand on one another: opened, answering, classes, learning, labelling, relocating; `Owner` is the whole.

import { Monitor } from "../../anomaly/monitor.js";
import type { Bundle } from "../../bundle/bundle.js";
import type { Learner } from "../../learner/learner.js";
import { Asking } from "../../online/asking.js";
import type { Opened } from "../opening.js";
import { Recognition } from "../recognition.js";
import type { Entry, Settings, StoredSample, Version } from "../record.js";
import type { Runs } from "../runs/runs.js";
import { checkSettings } from "../settings.js";
import type { State } from "../state.js";

/** The floor: the parameters that answer are always those of the current version. */
export class OpenedOwner {
  readonly learner: Learner;
  /** The queue for the mentor's service. */
  readonly asking: Asking;
  protected readonly state: State;
  protected readonly runs: Runs;
  protected readonly monitor: Monitor;
  protected readonly recognition: Recognition;

  protected constructor({ learner, state, runs }: Opened) {
    [this.learner, this.state, this.runs] = [learner, state, runs];
    this.asking = new Asking(state, learner);
    this.monitor = new Monitor(state, learner);
    this.recognition = new Recognition(state, learner);
  }

  /** Its manifest has the names that the owner gave to spare classes. */
  get bundle(): Bundle {
    return this.learner.bundle;
  }

  get samples(): readonly StoredSample[] {
    return this.state.now.samples;
  }

  /** 0 is the base. */
  get current(): number {
    return this.state.now.current;
  }

  get versions(): readonly Version[] {
    return this.state.now.versions;
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

  /** Releases the runtime's memory. What still goes on, a guess whose mentor has not answered for instance, changes nothing. */
  async close(): Promise<void> {
    await this.state.close();
    await this.learner.close();
  }

  /** Does what may make another version current: what is enrolled is embedded anew then. */
  protected async moved<T>(change: () => Promise<T>): Promise<T> {
    this.runs.requireRest();
    try {
      return await change();
    } finally {
      this.recognition.forget();
    }
  }
}
