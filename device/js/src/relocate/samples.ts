// The sample store on its way to another base: labels by class name, inputs by preprocessing, and aside what does not fit.

import type { Bytes } from "../bytes.js";
import type { Manifest } from "../bundle/manifest/manifest.js";
import { UNLABELLED } from "../bundle/packs.js";
import type { Preprocessing } from "../bundle/manifest/parts.js";
import type { Input } from "../bundle/preprocess.js";
import type { AsideSample, Content, Piece, StoredBase, StoredSample } from "../owner/record.js";
import { inputOf, stacked, type Stored } from "../owner/samples.js";
import type { State } from "../owner/state.js";

/** A stored sample, its label in terms of the new base; `name` is its class's, "" without a label. */
export interface Item {
  readonly number: number;
  readonly label: number;
  readonly name: string;
  readonly fits: boolean;
  readonly source: StoredSample["source"];
  readonly weight: number;
  readonly rules: Preprocessing; // of the base that it was stored under
  readonly stored: StoredSample | AsideSample;
}

export class MigratedSamples {
  readonly items: readonly Item[]; // oldest number first

  constructor(
    private readonly state: State,
    private readonly old: StoredBase,
    private readonly manifest: Manifest,
  ) {
    const { samples, aside } = state.now;
    const items = [
      ...samples.map((one) => this.item(one, old.classes[one.label] ?? "", old.preprocessing)),
      ...aside.map((one) => this.item(one, one.name, one.preprocessing)),
    ];
    this.items = items.sort((one, other) => one.number - other.number);
  }

  private item(stored: StoredSample | AsideSample, name: string, rules: Preprocessing): Item {
    const label = this.manifest.classes.indexOf(name);
    const { number, source, weight } = stored;
    const fits = sameSamples(rules, this.manifest.preprocessing) && (!name || label >= 0);
    return { number, label: name ? label : UNLABELLED, name, fits, source, weight, rules, stored };
  }

  /** Samples for the new base in the order of their numbers, those that are damaged left out. */
  async read(numbers: ReadonlySet<number>): Promise<Stored> {
    const found: [Item, Input][] = [];
    for (const item of this.items) {
      const input = numbers.has(item.number) ? await this.input(item) : null;
      if (input !== null) found.push([item, input]);
    }
    const weights = Float32Array.from(found, ([item]) => item.weight);
    return [stacked(this.manifest, found), weights, found.map(([item]) => item.number)];
  }

  /** What the state holds under the new base; of what is set aside the oldest go beyond the settings' bounds. */
  async written(): Promise<Pick<Content, "samples" | "aside">> {
    const samples: StoredSample[] = [];
    const aside: AsideSample[] = [];
    for (const item of this.items) {
      const { stored, name, label } = item;
      if (!item.fits) {
        aside.push("name" in stored ? stored : { ...withoutLabel(stored), name, preprocessing: item.rules });
        continue;
      }
      const input = await this.input(item);
      if (input === null) continue; // damaged: nothing of it could be used
      const { number, time, source, weight } = stored;
      const about = { number, time, source, weight, label };
      const dtype = input instanceof Uint8Array ? "uint8" : "float32";
      const guess = "label" in stored ? stored : { confidence: null, before: null };
      const before = guess.before === null ? null : this.labelOf(guess.before);
      const piece = await this.state.put(`sample-${number}`, bytesOf(input));
      const mentorLogits = await this.columns(stored.mentorLogits);
      samples.push({ ...piece, ...about, dtype, mentorLogits, confidence: guess.confidence, before });
    }
    const { mostSamples, mostSampleBytes } = this.state.now.settings;
    let bytes = aside.reduce((all, one) => all + one.bytes, 0);
    while (aside.length > mostSamples || bytes > mostSampleBytes) bytes -= aside.shift()?.bytes ?? 0;
    return { samples, aside };
  }

  private labelOf(before: number): number {
    return this.manifest.classes.indexOf(this.old.classes[before] ?? "");
  }

  private async input({ stored, rules, fits }: Item): Promise<Input | null> {
    const content = fits ? await this.state.get(stored) : null;
    return content === null ? null : refit(inputOf(content, stored.dtype), rules, this.manifest.preprocessing);
  }

  /** The mentor's logits, where it answered for every class of the new base. */
  private async columns(piece: Piece | null): Promise<Piece | null> {
    const content = piece === null ? null : await this.state.get(piece);
    const { classes } = this.manifest;
    const places = classes.map((name) => this.old.classes.indexOf(name));
    if (content === null || places.includes(-1) || content.length !== 4 * this.old.classes.length) return null;
    const logits = inputOf(content, "float32");
    return this.state.put(
      `${piece?.piece.split(".")[0]}-moved`,
      bytesOf(Float32Array.from(places, (place) => logits[place] ?? 0)),
    );
  }
}

function withoutLabel({
  label: _,
  confidence: _c,
  before: _b,
  ...rest
}: StoredSample): Omit<AsideSample, "name" | "preprocessing"> {
  return rest;
}

/** Whether samples of the one have the shape and dtype of the other's. */
export function sameSamples(before: Preprocessing, after: Preprocessing): boolean {
  return before.dtype === after.dtype && JSON.stringify(before.shape) === JSON.stringify(after.shape);
}

/** A sample that was fit for `before`, as `after` takes it. */
export function refit(input: Input, before: Preprocessing, after: Preprocessing): Input {
  const same = JSON.stringify([before.mean, before.std]) === JSON.stringify([after.mean, after.std]);
  if (input instanceof Uint8Array || after.dtype === "float32" || same) return input;
  const f = Math.fround;
  const plane = input.length / (after.shape[0] ?? 1);
  return input.map((value, place) => {
    const channel = Math.floor(place / plane);
    const [mean, std] = [f(before.mean[channel] ?? 0), f(before.std[channel] ?? 1)];
    const [newMean, newStd] = [f(after.mean[channel] ?? 0), f(after.std[channel] ?? 1)];
    return f(f(f(f(value * std) + mean) - newMean) / newStd);
  });
}

function bytesOf(input: Input): Bytes {
  const own = input.slice();
  return new Uint8Array(own.buffer as ArrayBuffer, own.byteOffset, own.byteLength);
}
