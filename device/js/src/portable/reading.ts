// A state on its way out of a file: what record.ts has checked becomes pieces of a storage and the record that names them.

import type { Bytes } from "../bytes.js";
import type { Manifest } from "../bundle/manifest/manifest.js";
import type { Stock } from "../bundle/manifest/stock.js";
import { writeSnapshot } from "../learner/snapshot.js";
import { answerBytes } from "../online/answers.js";
import { NOTHING_ASKED } from "../owner/asked.js";
import {
  NOTHING_DONE,
  SETTINGS,
  randomOf,
  type Content,
  type ResolvedPlan,
  type Settings,
  type Source,
  type Status,
  type Version,
} from "../owner/record.js";
import { State, StateError, clock } from "../owner/state.js";
import type { Storage } from "../storage/storage.js";
import { Misfit } from "./checks.js";
import { unpacked } from "./container.js";
import { camel, renamed } from "./names.js";
import { checked } from "./record.js";
import type { FileRecord, FileSnapshot, FileVersion } from "./shape.js";
import { stockOf } from "./writing.js";

/** A file's record, checked for the bundle, and its parts. */
export interface FileState {
  readonly record: FileRecord;
  readonly parts: readonly Bytes[];
}

/** Throws StateError for a file that is not whole, of another format, bundle or key, or whose content makes no sense. */
export async function readState(file: Uint8Array, manifest: Manifest, key: Uint8Array | null): Promise<FileState> {
  if (!(file instanceof Uint8Array)) {
    throw new StateError("that is no file's content: give its bytes, new Uint8Array(…) of an ArrayBuffer");
  }
  const content = await unpacked(file, manifest.id, key);
  try {
    return { record: checked(content, manifest, stockOf(manifest)), parts: content.parts };
  } catch (error) {
    if (!(error instanceof Misfit)) throw error;
    throw new StateError(`the file was not made by a program of this format (${error.message}): refused`);
  }
}

/** Makes `storage` what `found` says, in place of all that it holds. */
export async function filled(
  storage: Storage,
  manifest: Manifest,
  found: FileState,
  held: string | null,
): Promise<State> {
  return State.replace(storage, manifest.id, (put) => new Filling(put, manifest, found).content(held));
}

type Put = State["put"];

class Filling {
  private readonly stock: Stock;

  constructor(
    private readonly put: Put,
    private readonly manifest: Manifest,
    private readonly found: FileState,
  ) {
    this.stock = stockOf(manifest);
  }

  async content(held: string | null): Promise<Omit<Content, "bundle" | "change">> {
    const { record } = this.found;
    const text = `came from a file of another device${held === null ? "" : `, in place of ${held}`}`;
    const log = record.log.map(({ time, event, line, details }) => {
      return { time: time ?? "", kind: event, text: line, ...(Object.keys(details).length ? { details } : {}) };
    });
    return {
      base: null,
      names: record.names ?? {},
      lostNames: record.lost_names ?? [],
      current: record.current,
      next: record.next,
      samples: await this.samples(),
      aside: await this.aside(),
      enrolled: await this.enrolled(),
      versions: await this.versions(),
      settings: { ...SETTINGS, ...renamed(record.settings, camel) } as Settings,
      log: [...log, { time: clock(), kind: "import", text }],
      watch: await this.watch(),
      answers: await this.answered(),
      asked: { ...NOTHING_ASKED, ...renamed(record.asked ?? {}, camel) },
    };
  }

  private part(place: number): Bytes {
    return this.found.parts[place] ?? new Uint8Array();
  }

  private async answers(name: string, part: number | null) {
    return part === null ? null : this.put(`${name}-answers`, this.part(part));
  }

  private async samples(): Promise<Content["samples"]> {
    const made = [];
    for (const { input, mentor_logits, source, ...about } of this.found.record.samples) {
      const name = `sample-${about.number}`;
      const piece = await this.put(name, this.part(input));
      made.push({
        ...about,
        ...piece,
        source: source as Source,
        mentorLogits: await this.answers(name, mentor_logits),
      });
    }
    return made;
  }

  private async aside(): Promise<Content["aside"]> {
    const made = [];
    for (const { input, mentor_logits, source, class: name, ...about } of this.found.record.aside) {
      const called = `aside-${about.number}`;
      const piece = await this.put(called, this.part(input));
      const mentorLogits = await this.answers(called, mentor_logits);
      made.push({ ...about, ...piece, name, source: source as Source, mentorLogits });
    }
    return made;
  }

  private async enrolled(): Promise<Content["enrolled"]> {
    const made = [];
    for (const { number, class: name, dtype, input } of this.found.record.enrolled) {
      made.push({ number, name, dtype, ...(await this.put(`enrolled-${number}`, this.part(input))) });
    }
    return made;
  }

  private async versions(): Promise<Version[]> {
    const made = [];
    for (const version of this.found.record.versions) {
      const { time, plan, progress, status, snapshot, ...about } = version;
      made.push({
        ...about,
        time: time ?? "",
        status: status as Status,
        plan: Object.keys(plan).length ? (renamed(plan, camel) as unknown as ResolvedPlan) : null,
        progress: { ...NOTHING_DONE, ...progress },
        snapshot: snapshot === null ? null : await this.snapshot(version, snapshot),
      });
    }
    return made;
  }

  private async snapshot(version: FileVersion, { vectors, taken, random, learning_rate }: FileSnapshot) {
    const { parameters, statistics } = this.stock;
    const there = new Map(Object.entries(vectors).map(([name, part]) => [name, floatsOf(this.part(part))]));
    const P = there.get("parameters")?.length ?? 0;
    for (let number = 1; number <= this.stock.moments; number++) {
      if (!there.has(`moment${number}`)) there.set(`moment${number}`, new Float32Array(P));
    }
    const state = { vectors: there, parameters, statistics, taken };
    const snapshot = {
      bundle: this.manifest.id,
      step: version.step,
      learningRate: learning_rate,
      random: randomOf(random),
      state,
    };
    return this.put(`version-${version.number}`, await writeSnapshot(snapshot));
  }

  private async answered(): Promise<Content["answers"]> {
    const made = [];
    for (const { number, version, mentor_logits, activations } of this.found.record.answers ?? []) {
      const layers = Object.entries(activations).map(([probe, part]) => {
        return [probe, new Uint16Array(this.part(part).slice().buffer)] as const;
      });
      const answer = { mentorLogits: floatsOf(this.part(mentor_logits)), activations: new Map(layers) };
      made.push({ ...(await this.put(`answer-${number}`, answerBytes(answer))), number, version, open: false });
    }
    return made;
  }

  private async watch(): Promise<Content["watch"]> {
    const { watch } = this.found.record;
    if (watch === null) return null;
    return { ...watch, stored: await this.put("watch", this.part(watch.stored)) };
  }
}

function floatsOf(bytes: Bytes): Float32Array {
  return new Float32Array(bytes.slice().buffer);
}
