// The versions of a state: which grew from which, and what is stored of them.

import { SnapshotError, readSnapshot, writeSnapshot, type Snapshot } from "../learner/snapshot.js";
import { NOTHING_DONE, type Content, type ResolvedPlan, type Version } from "./record.js";
import { clock, type State } from "./state.js";

/** The number of the bundle's own mentee. */
export const BASE = 0;

export class Versions {
  constructor(private readonly state: State) {}

  find(number: number): Version | undefined {
    return this.state.now.versions.find((one) => one.number === number);
  }

  /** Changes what is said of a version, with other `changes` of the state at once. */
  async settle(number: number, about: Partial<Version>, changes: Partial<Content>, text: string): Promise<void> {
    const versions = (changes.versions ?? this.state.now.versions).map((one) =>
      one.number === number ? { ...one, ...about } : one,
    );
    await this.state.change({ ...changes, versions }, about.status ?? "saved", text);
  }

  /** A new candidate that is still equal to its parent; it counts once a change of the state names it. */
  async begun(plan: ResolvedPlan, parent: number, start: Snapshot): Promise<Version> {
    const { bundle, next } = this.state.now;
    const number = next.version;
    return {
      number,
      parent,
      bundle,
      plan,
      status: "candidate",
      time: clock(),
      step: start.step,
      learned: plan.samples,
      progress: NOTHING_DONE,
      verdict: {},
      why: "",
      identity: "",
      snapshot: await this.state.put(`version-${number}`, await writeSnapshot(start)),
      guesses: {},
    };
  }

  /** Makes `number` current; of the accepted ones before, those beyond the setting lose their snapshots. `changes` go with it. */
  async accept(
    number: number,
    end: Snapshot,
    about: Partial<Version>,
    text: string,
    changes: Partial<Content> = {},
  ): Promise<void> {
    const versions = changes.versions ?? this.state.now.versions;
    const most = (changes.settings ?? this.state.now.settings).mostVersions;
    const accepted = versions.filter((one) => one.status === "accepted" && one.number !== number);
    const pruned = accepted.slice(0, Math.max(0, accepted.length + 1 - most));
    const left = versions.map((one) =>
      pruned.includes(one) ? { ...one, status: "pruned" as const, snapshot: null } : one,
    );
    const snapshot = await this.state.put(`version-${number}`, await writeSnapshot(end));
    const accepts = {
      identity: snapshot.sha256,
      ...about,
      status: "accepted",
      snapshot,
      step: end.step,
      guesses: {},
    } as const;
    await this.settle(number, accepts, { ...changes, current: number, versions: left }, text);
  }

  /** null where it is gone or damaged. */
  async snapshotOf(version: Version | undefined): Promise<Snapshot | null> {
    const piece = version?.snapshot ?? null;
    const file = piece === null ? null : await this.state.get(piece);
    try {
      return file === null ? null : await readSnapshot(file);
    } catch (error) {
      if (error instanceof SnapshotError) return null;
      throw error;
    }
  }

  /** The first accepted one whose snapshot is sound; the base where there is none. */
  async newestIntact(among: readonly Version[]): Promise<number> {
    for (const version of among) {
      if (version.status === "accepted" && (await this.snapshotOf(version)) !== null) return version.number;
    }
    return BASE;
  }

  /** A version and those it grew from, newest first, the base left out. */
  lineage(number: number): Version[] {
    const found: Version[] = [];
    for (let version = this.find(number); version !== undefined; version = this.find(version.parent))
      found.push(version);
    return found;
  }
}
