// Normal samples, observed for a while, and those that deviate from them: distance to stored embeddings, no training.
//
// The score is the distance to the k-th nearest stored embedding (arXiv 2204.06507, without its normalisation). The threshold is a
// percentile of the same score of every stored embedding, itself left out, ranked as conformal prediction does. What is stored is a
// uniform random sample of what was seen (reservoir sampling, Vitter 1985, algorithm R). Axes: N samples, M stored ones, D embedding.

import { SampleError } from "../bundle/preprocess.js";
import { Random } from "../learner/random.js";
import { randomOf, storedRandom, type StoredWatch } from "../owner/record.js";

/** How long to observe, and what to flag afterwards. */
export interface Watch {
  /** Normal samples to observe, 200 by default; with `seconds`, whichever ends first; null: `seconds` alone. */
  readonly samples?: number | null;
  readonly seconds?: number | null;
  /** Embeddings that are stored at most, 256. */
  readonly capacity?: number;
  /** Per cent of normal samples that are not to be flagged, 99. */
  readonly percentile?: number;
  /** The distance is that to the k-th nearest, 1. */
  readonly neighbours?: number;
  readonly seed?: number;
}

/** `distance` [N], which of them are `anomalous` (distance > `threshold`), and the threshold of now. */
export interface Judged {
  readonly distance: Float64Array;
  readonly anomalous: readonly boolean[];
  readonly threshold: number;
}

type Rest = Omit<StoredWatch, "stored">;

export class Normal {
  private constructor(
    private rest: Rest,
    private readonly stored: Float32Array[], // M of [D]
    private readonly random: Random,
  ) {}

  /** Begins anew, on embeddings of `size` numbers. Throws SampleError. */
  static begun(watch: Watch, size: number): Normal {
    const given = { samples: 200, seconds: null, capacity: 256, percentile: 99, neighbours: 1, seed: 0, ...watch };
    const whole = (value: number, least: number, most = 2 ** 53): boolean =>
      Number.isInteger(value) && value >= least && value <= most;
    const { samples, seconds, capacity, percentile, neighbours, seed } = given;
    if (samples === null && seconds === null)
      throw new SampleError("a watch needs an end of observing: give samples, seconds or both");
    const fits =
      (samples === null || whole(samples, 2)) &&
      (seconds === null || (seconds > 0 && Number.isFinite(seconds))) &&
      whole(capacity, 2, 1_000_000) &&
      percentile > 0 &&
      percentile < 100 &&
      whole(neighbours, 1, capacity - 1) &&
      whole(seed, 0);
    if (!fits) throw new SampleError(`this watch makes no sense: ${JSON.stringify(watch).slice(0, 200)}`);
    const random = Random.seeded(seed);
    const begins = { observing: true, seen: 0, first: null, last: null, ends: samples };
    return new Normal({ ...given, ...begins, size, random: storedRandom(random.state) }, [], random);
  }

  /** Goes on from what `state` and `embeddings` [M, D] say. */
  static from({ stored: _, ...rest }: StoredWatch, embeddings: Float32Array): Normal {
    const rows = Array.from({ length: embeddings.length / rest.size }, (_row, at) =>
      embeddings.slice(at * rest.size, (at + 1) * rest.size),
    );
    return new Normal(rest, rows, Random.from(randomOf(rest.random)));
  }

  get state(): Rest {
    return { ...this.rest, random: storedRandom(this.random.state) };
  }

  /** [M, D]. */
  get embeddings(): Float32Array<ArrayBuffer> {
    const whole = new Float32Array(this.stored.length * this.rest.size);
    this.stored.forEach((row, at) => whole.set(row, at * this.rest.size));
    return whole;
  }

  get observing(): boolean {
    return this.rest.observing;
  }

  get seconds(): number | null {
    return this.rest.seconds;
  }

  /** Takes normal samples [N, D] in, and how many of them: fewer than N where the period ends on the way, 0 when frozen. `now` in
   * seconds, of any clock that does not go back. Throws SampleError, and then nothing has changed. */
  observe(embedding: Float32Array, now: number | null): number {
    const rows = this.rowsOf(embedding);
    const { seconds, last, first, ends, seen } = this.rest;
    if (now === null && seconds !== null)
      throw new SampleError(`this watch ends after ${seconds} s: say what time it is`);
    if (now !== null && !(Number.isFinite(now) && now >= (last ?? Number.NEGATIVE_INFINITY))) {
      throw new SampleError(`the clock says ${now} after ${last}: expected a time that does not go back`);
    }
    if (!this.observing) return 0;
    if (now !== null) {
      this.rest = { ...this.rest, last: now, first: first ?? now };
      if (seconds !== null && now - (first ?? now) > seconds) {
        this.freeze();
        return 0;
      }
    }
    const room = ends === null ? rows.length : Math.min(rows.length, ends - seen);
    for (const row of rows.slice(0, room)) this.take(row);
    if (ends !== null && this.rest.seen >= ends) this.freeze();
    return room;
  }

  /** Ends observing now. */
  freeze(): void {
    this.rest = { ...this.rest, observing: false };
  }

  /** Observes for one more period, on top of what is stored. */
  resume(): void {
    const { samples, seen } = this.rest;
    this.rest = { ...this.rest, observing: true, first: null, ends: samples === null ? null : seen + samples };
  }

  /** The ⌈(M + 1) · percentile / 100⌉-th smallest leave-one-out distance, the largest where M is too small for that rank. Throws
   * SampleError where fewer than `neighbours` + 1 are stored. */
  get threshold(): number {
    const { neighbours, percentile } = this.rest;
    const M = this.stored.length;
    if (M <= neighbours)
      throw new SampleError(`only ${M} samples observed, expected more than ${neighbours}: observe first`);
    const own = this.stored.map((row, at) => this.nearest(row, at)).sort((one, other) => one - other);
    return own[Math.min(Math.ceil(((M + 1) * percentile) / 100), M) - 1] ?? 0;
  }

  /** Flags what lies further from the stored ones than they do from each other; changes nothing. */
  judge(embedding: Float32Array): Judged {
    const rows = this.rowsOf(embedding);
    const { threshold } = this;
    const distance = Float64Array.from(rows, (row) => this.nearest(row, -1));
    return { distance, anomalous: Array.from(distance, (one) => one > threshold), threshold };
  }

  private take(row: Float32Array): void {
    const seen = this.rest.seen + 1;
    this.rest = { ...this.rest, seen };
    const { capacity } = this.rest;
    const place = this.stored.length === capacity ? this.random.integer(seen) : this.stored.length;
    if (place < capacity) this.stored[place] = row;
  }

  /** The distance to the k-th nearest stored embedding, that at `left` left out. */
  private nearest(row: Float32Array, left: number): number {
    const all = this.stored.map((other, at) => (at === left ? Number.POSITIVE_INFINITY : distance(row, other)));
    return Float64Array.from(all).sort()[this.rest.neighbours - 1] ?? 0;
  }

  private rowsOf(embedding: Float32Array): Float32Array[] {
    const { size } = this.rest;
    if (!Number.isInteger(embedding.length / size))
      throw new SampleError(`embeddings of ${embedding.length} numbers: expected ${size} each`);
    if (!embedding.every(Number.isFinite)) throw new SampleError("embeddings hold NaN or Inf: expected finite numbers");
    return Array.from({ length: embedding.length / size }, (_, row) => embedding.slice(row * size, (row + 1) * size));
  }
}

function distance(one: Float32Array, other: Float32Array): number {
  let sum = 0;
  for (let place = 0; place < one.length; place++) sum += ((other[place] ?? 0) - (one[place] ?? 0)) ** 2;
  return Math.sqrt(sum);
}
