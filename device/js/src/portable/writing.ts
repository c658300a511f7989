// A state on its way into a file: what lies in a storage, as record.ts has it.

import type { Bytes } from "../bytes.js";
import { BundleError } from "../bundle/errors.js";
import type { Manifest } from "../bundle/manifest/manifest.js";
import type { Part, Stock } from "../bundle/manifest/stock.js";
import type { Snapshot } from "../learner/snapshot.js";
import { readAnswer } from "../online/answers.js";
import { NOTHING_ASKED, only } from "../owner/asked.js";
import { SETTINGS, storedRandom, type Piece, type Version } from "../owner/record.js";
import { StateError, type State } from "../owner/state.js";
import { Versions } from "../owner/versions.js";
import { packed } from "./container.js";
import { renamed, snake } from "./names.js";

const VECTORS = ["parameters", "statistics", "moment1", "moment2"]; // their parts lie in this order

/** The file; encrypted where there is a key. Throws StateError where what answers is damaged. */
export async function writeState(state: State, manifest: Manifest, key: Uint8Array | null): Promise<Bytes> {
  const writer = new Writer(state, manifest);
  const record = await writer.record(stockOf(manifest));
  return packed(record, writer.parts, manifest.id, key);
}

/** Throws BundleError for a bundle without stock graphs. */
export function stockOf({ stock }: Manifest): Stock {
  if (stock === null)
    throw new BundleError("the bundle has no stock graphs: export it again with backend=stock or both");
  return stock;
}

class Writer {
  readonly parts: Bytes[] = [];

  constructor(
    private readonly state: State,
    private readonly manifest: Manifest,
  ) {}

  async record(stock: Stock): Promise<Record<string, unknown>> {
    const { current, next, settings, log, watch, names } = this.state.now;
    const lost = this.state.now.lostNames.filter((name) => !Object.values(names).includes(name));
    const layout = (parts: readonly Part[]): unknown[] => parts.map(({ name, shape }) => [name, shape]);
    const given = Object.entries(settings).filter(([name, value]) => value !== SETTINGS[name as keyof typeof SETTINGS]);
    const [samples, aside] = [await this.samples(), await this.aside()];
    const record = {
      layout: { parameters: layout(stock.parameters), statistics: layout(stock.statistics) },
      current,
      next,
      samples,
      aside,
      enrolled: await this.enrolled(),
      versions: await this.versions(),
      settings: renamed(Object.fromEntries(given), snake),
      log: log.map(({ time, kind, text, details = {} }) => ({ time: second(time), event: kind, line: text, details })),
      watch: watch === null ? null : { ...watch, stored: this.part(await this.required(watch.stored)) },
      ...(Object.keys(names).length ? { names } : {}),
      ...(lost.length ? { lost_names: lost } : {}),
    };
    const there = new Set(samples.map(({ number }) => number)); // without damaged ones
    const answers = await this.answered(there);
    const asked = only(this.state.now.asked, there, new Set([...there, ...aside.map(({ number }) => number)]));
    const told = JSON.stringify(asked) === JSON.stringify(NOTHING_ASKED) ? {} : { asked: renamed(asked, snake) };
    return { ...record, ...(answers.length ? { answers } : {}), ...told };
  }

  /** Answers of the mentor that was asked online, by the sample's number. */
  private async answered(there: ReadonlySet<number>): Promise<unknown[]> {
    const found = [];
    const closed = this.state.now.answers.filter(({ open, number }) => !open && there.has(number));
    for (const stored of closed.sort((one, other) => one.number - other.number)) {
      const answer = await readAnswer(this.state, this.manifest, stored);
      if (answer === null) continue; // damaged
      const mentor_logits = this.part(bytesOf(answer.mentorLogits));
      const activations = Object.fromEntries(
        Array.from(answer.activations, ([probe, halves]) => {
          return [probe, this.part(new Uint8Array(Uint16Array.from(halves).buffer))] as const;
        }),
      );
      found.push({ number: stored.number, version: stored.version, mentor_logits, activations });
    }
    return found;
  }

  private part(bytes: Bytes): number {
    return this.parts.push(bytes) - 1;
  }

  private async required(piece: Piece): Promise<Bytes> {
    const content = await this.state.get(piece);
    if (content === null) throw new StateError(`${piece.piece} is damaged: remove it first`);
    return content;
  }

  private async answers(piece: Piece | null): Promise<number | null> {
    const content = piece === null ? null : await this.state.get(piece);
    return content === null ? null : this.part(content);
  }

  private async samples(): Promise<{ readonly number: number }[]> {
    const found = [];
    for (const { number, time, source, label, weight, dtype, confidence, before, ...one } of this.state.now.samples) {
      const content = await this.state.get(one);
      if (content === null) continue; // damaged: nothing of it could be used
      const about = { number, time: second(time), source, label, weight, dtype, confidence, before };
      found.push({ ...about, input: this.part(content), mentor_logits: await this.answers(one.mentorLogits) });
    }
    return found;
  }

  private async aside(): Promise<{ readonly number: number }[]> {
    const found = [];
    for (const { number, time, source, weight, dtype, name, preprocessing, ...one } of this.state.now.aside) {
      const content = await this.state.get(one);
      if (content === null) continue;
      const { shape, mean, std, dtype: raw } = preprocessing;
      const about = { number, time: second(time), source, weight, dtype, class: name };
      const rules = { preprocessing: { shape, mean, std, dtype: raw } };
      const input = this.part(content);
      found.push({ ...about, ...rules, input, mentor_logits: await this.answers(one.mentorLogits) });
    }
    return found;
  }

  private async enrolled(): Promise<unknown[]> {
    const found = [];
    for (const { number, name, dtype, ...one } of this.state.now.enrolled) {
      found.push({ number, class: name, dtype, input: this.part(await this.required(one)) });
    }
    return found;
  }

  private async versions(): Promise<unknown[]> {
    const versions = new Versions(this.state);
    const found = [];
    for (const version of this.state.now.versions) {
      const snapshot = await versions.snapshotOf(version);
      const lost = version.snapshot !== null && snapshot === null;
      if (lost && version.number === this.state.now.current) {
        throw new StateError(`v${version.number} is damaged: open the state anew, which goes back to a sound one`);
      }
      found.push(this.version(lost ? { ...version, status: "damaged" } : version, snapshot));
    }
    return found;
  }

  private version({ plan, time, progress, snapshot: _, ...version }: Version, snapshot: Snapshot | null): unknown {
    const described = plan === null ? {} : renamed(plan, snake);
    return {
      ...version,
      time: second(time),
      plan: described,
      progress,
      guesses: version.status === "candidate" ? version.guesses : {},
      snapshot: snapshot === null ? null : this.snapshot(snapshot),
    };
  }

  private snapshot({ learningRate, random, state }: Snapshot): unknown {
    const vectors = VECTORS.flatMap((name) => {
      const values = state.vectors.get(name);
      return values === undefined || !values.length ? [] : [[name, this.part(bytesOf(values))] as const];
    });
    return {
      learning_rate: learningRate,
      random: storedRandom(random),
      taken: state.taken,
      vectors: Object.fromEntries(vectors),
    };
  }
}

function bytesOf(values: Float32Array): Bytes {
  return new Uint8Array(Float32Array.from(values).buffer);
}

/** A program before wrote times with thousandths. */
function second(time: string): string | null {
  return time.replace(/\.\d+Z$/, "Z") || null;
}
