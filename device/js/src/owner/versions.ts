// The versions of a state: which grew from which, and what is stored of them.

import { SnapshotError, readSnapshot, type Snapshot } from "../learner/snapshot.js";
import type { Content, Version } from "./record.js";
import type { State } from "./state.js";

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
