// The mentee in memory: predict, learn under the mentor's recorded answers, judge.
//
// Axes: N samples, B of one batch, K classes, D embedding.

import type { Bundle } from "../bundle/bundle.js";
import type { Knobs } from "../bundle/manifest/inputs.js";
import type { Names } from "../bundle/manifest/spare.js";
import { UNLABELLED, checkLabels, type Samples, type Supervision } from "../bundle/packs.js";
import { RATE_RANGE } from "../bundle/manifest/parts.js";
import { SampleError, elementsOf, preprocess, samplesIn, type Input } from "../bundle/preprocess.js";
import { highestRows } from "../guard/answers.js";
import { mixed, takeSamples, takeSupervision, type Mixing } from "./batch.js";
import { EVALUATION_BATCH, passes } from "./passes.js";
import { Random } from "./random.js";
import type { Runtime, SessionOptions } from "./runtime.js";
import { StockSession, type State } from "./session.js";
import type { Snapshot } from "./snapshot.js";

/** A step that was refused; parameters, moments and step count are as before it, unless the line says otherwise. */
export class LearningError extends Error {
  override readonly name = "LearningError";
}

/** The loss of a step before it, and its terms, by default ce, rmse_<probe> and kl. */
export type Terms = Readonly<Record<string, number>>;

/** `logits` [N, K] and `embedding` [N, D], what the classifier reads; `classes` [N], the row number of the highest logit. */
export interface Prediction {
  readonly logits: Float32Array;
  readonly embedding: Float32Array;
  readonly classes: Int32Array;
}

export interface Learning {
  readonly steps: number;
  /** The owner's labelled samples in a step, 8 by default, and replayed ones, 16. */
  readonly batch?: number;
  readonly replayBatch?: number;
  /** Restarts the random state; without one it goes on, so that 10 steps, a snapshot, and 10 more equal 20. */
  readonly seed?: number;
  /** Weight of an owner's label, 4 by default; a replayed one weighs 1. */
  readonly ownerWeight?: number;
  /** Over the bundle's; as a function, of each step from 0 on. */
  readonly knobs?: Partial<Knobs> | ((step: number) => Partial<Knobs>);
  /** The learning rate from here on; as a function, of each step from 0 on. */
  readonly learningRate?: number | ((step: number) => number);
  /** After each step. */
  readonly onProgress?: (done: number, steps: number, terms: Terms) => void;
  /** Ends before the next step. */
  readonly signal?: AbortSignal;
}

/** The terms of the first and the last step that were taken. */
export interface Learned {
  readonly first: Terms;
  readonly last: Terms;
  readonly steps: number;
}

/** A bundle's mentee, at its base until it learns or is given a snapshot. Call one method at a time. */
export class Learner {
  /** Calls of `learnBatch` since the base. */
  step = 0;
  private rate: number;
  private random = Random.seeded(0);
  private pack: Supervision | null = null;
  private broken: string | null = null; // what a step left not finite

  private constructor(
    private opened: Bundle,
    private readonly session: StockSession,
  ) {
    this.rate = Math.fround(opened.manifest.learningRate);
  }

  /** `runtime`: the app's ONNX Runtime. Throws BundleError for a bundle without stock/ graphs, RuntimeError for a
   * runtime that cannot start, or is too old. */
  static async open(bundle: Bundle, runtime: Runtime, options: SessionOptions = {}): Promise<Learner> {
    return new Learner(bundle, await StockSession.open(bundle, runtime, options));
  }

  get bundle(): Bundle {
    return this.opened;
  }

  /** Calls spare classes of the bundle by `names` from here on: `Bundle.named`. */
  name(names: Names): void {
    this.opened = this.opened.named(names);
  }

  /** What a schedule in the optimizer graph multiplies; part of a snapshot. */
  get learningRate(): number {
    return this.rate;
  }

  set learningRate(value: number) {
    const [least, most] = RATE_RANGE;
    if (!(value >= least && value <= most))
      throw new LearningError(`learning rate ${value} is no number from ${least} to ${most}`);
    this.rate = Math.fround(value);
  }

  /** The bundle's replay samples, read on first use. */
  async supervision(): Promise<Supervision> {
    return (this.pack ??= await this.bundle.supervision());
  }

  /** `input` of N samples as `preprocess` takes it, under the current parameters. Throws SampleError, LearningError. */
  async predict(input: Input): Promise<Prediction> {
    this.requireFinite();
    const rules = this.bundle.manifest.preprocessing;
    const N = samplesIn(input, rules);
    if (!N) throw new SampleError("input holds no sample: expected at least one");
    const K = this.bundle.manifest.classes.length;
    const each = elementsOf(rules);
    const logits = new Float32Array(N * K);
    let embedding = new Float32Array();
    for (let start = 0; start < N; start += EVALUATION_BATCH) {
      const part = await this.session.forward(
        preprocess(input.subarray(start * each, (start + EVALUATION_BATCH) * each), rules),
      );
      if (!part.logits.every(Number.isFinite)) {
        throw new LearningError(
          "the parameters have grown so far that logits are not finite: reset the mentee or restore a snapshot, and lower the " +
            "learning rate",
        );
      }
      const D = part.embedding.length / (part.logits.length / K);
      if (!embedding.length) embedding = new Float32Array(N * D);
      logits.set(part.logits, start * K);
      embedding.set(part.embedding, start * D);
    }
    return { logits, embedding, classes: highestRows(logits, K) };
  }

  /** The share, 0 to 1, of samples whose highest logit is their label's. Throws SampleError. */
  async evaluate({ input, labels }: Samples): Promise<number> {
    const { preprocessing, classes } = this.bundle.manifest;
    const checked = checkLabels(labels, samplesIn(input, preprocessing), classes.length, 0);
    const seen = (await this.predict(input)).classes;
    return checked.reduce((right, label, row) => right + Number(seen[row] === label), 0) / checked.length;
  }

  /** `evaluate` on the bundle's golden set, the samples that a guard judges by. */
  async evaluateGolden(): Promise<number> {
    return this.evaluate(await this.bundle.golden());
  }

  /** One step of the bundle's optimizer on the owner's `samples` and `replay` together.
   *
   * The label term is the weighted mean over all labelled samples, an owner's weighing `ownerWeight` times a replayed one, times
   * its `weights` [B] where given (a guessed label's share); the mentor's terms are means over `replay` and over
   * the samples that have `answers`. A knob left out is the
   * bundle's default. Throws SampleError, and LearningError when no term has a sample or a number is not finite. */
  async learnBatch(samples: Samples, replay: Supervision | null = null, mixing: Mixing = {}): Promise<Terms> {
    this.requireFinite();
    const { manifest } = this.bundle;
    const batch = mixed(manifest, samples, replay, mixing);
    if (!batch.labelled.some(Boolean) && !batch.supervised.some(Boolean)) {
      throw new LearningError("nothing to learn from: no sample of the batch has a label or a mentor's answer");
    }
    if (batch.size * manifest.smallestMap === 1) {
      throw new LearningError(
        "a batch of one sample: this bundle's BatchNorm uses the statistics of the batch, and one value a channel has no " +
          "variance; learn from at least two samples at a time, replayed ones included",
      );
    }
    const terms: Record<string, number> = {};
    try {
      for (const { batch: part, labels, answers } of passes(manifest, batch)) {
        for (const [name, [value = 0]] of await this.session.forwardBackward(part, this.step)) {
          const share = name === "loss" ? 1 : name === "ce" ? labels : answers; // the loss has its shares in α and γ already
          terms[name] = (terms[name] ?? 0) + share * value;
        }
      }
    } catch (error) {
      this.session.discard();
      throw error;
    }
    if (!Object.values(terms).every(Number.isFinite) || !(await this.session.gradientsUsable())) {
      this.session.discard();
      throw new LearningError(
        `step ${this.step + 1}: loss ${terms["loss"]}, and it or a gradient is not finite or overflows; nothing was changed: ` +
          "lower the knobs or the learning rate, or look for extreme samples",
      );
    }
    await this.session.apply(this.rate);
    this.step++;
    this.broken = await this.session.notFinite();
    this.requireFinite();
    return terms;
  }

  /** `steps` calls of `learnBatch`, each on labelled samples of the owner and on replayed ones, drawn without replacement, fewer
   * where there are fewer; unlabelled ones of the owner carry no term and are not drawn. */
  async learn(samples: Samples, learning: Learning): Promise<Learned> {
    const { steps, batch = 8, replayBatch = 16, seed, ownerWeight = 4, knobs = {}, learningRate, signal } = learning;
    if (!(steps >= 1 && batch >= 1 && replayBatch >= 0)) {
      throw new SampleError(`steps ${steps}, batch ${batch}, replay batch ${replayBatch}: expected ≥ 1, ≥ 1 and ≥ 0`);
    }
    const { manifest } = this.bundle;
    const N = samplesIn(samples.input, manifest.preprocessing);
    const labels = checkLabels(samples.labels, N, manifest.classes.length, UNLABELLED);
    preprocess(samples.input, manifest.preprocessing); // a bad sample must be refused before the first step, not at its draw
    const labelled = Int32Array.from(labels.keys()).filter((row) => (labels[row] ?? UNLABELLED) >= 0);
    if (seed !== undefined) this.seed(seed);
    let first: Terms = {};
    let last: Terms = {};
    let done = 0;
    while (done < steps && !signal?.aborted) {
      if (learningRate !== undefined)
        this.learningRate = typeof learningRate === "number" ? learningRate : learningRate(done);
      const own = takeSamples(manifest, samples, this.draw(labelled, batch));
      const replay = await this.drawReplay(replayBatch);
      last = await this.learnBatch(own, replay, {
        ownerWeight,
        knobs: typeof knobs === "function" ? knobs(done) : knobs,
      });
      first = done++ ? first : last;
      learning.onProgress?.(done, steps, last);
    }
    return { first, last, steps: done };
  }

  /** Restarts the random state that batches are drawn with: numpy's, so that every client draws the same. */
  seed(seed: number): void {
    this.random = Random.seeded(seed);
  }

  /** `batch` of `rows` without replacement, all of them where there are fewer. */
  draw(rows: Int32Array, batch: number): Int32Array {
    return this.random.choice(rows.length, Math.min(batch, rows.length)).map((place) => rows[place] ?? 0);
  }

  /** `count` whole numbers of 0 to `end` − 1, each as likely. */
  drawWhole(end: number, count: number): Int32Array {
    return Int32Array.from({ length: count }, () => this.random.integer(end));
  }

  /** `batch` samples of `pack`, by default the bundle's supervision, drawn likewise; null for 0. */
  async drawReplay(batch: number, pack?: Supervision): Promise<Supervision | null> {
    if (!batch) return null;
    const from = pack ?? (await this.supervision());
    const rows = Int32Array.from(from.samples.labels.keys());
    return takeSupervision(this.bundle.manifest, from, this.draw(rows, batch));
  }

  /** Whether the bundle accumulates gradients and some wait for the rest of their step: they are in no snapshot. */
  get collecting(): boolean {
    return this.session.collecting;
  }

  /** Takes the step that gradients wait for, with those there are. */
  async endCollecting(): Promise<void> {
    await this.session.endCollecting(this.rate);
  }

  /** All that an exact resume needs, unless `collecting`. */
  async snapshot(): Promise<Snapshot> {
    const { step, rate: learningRate, random } = this;
    return {
      bundle: this.bundle.manifest.id,
      step,
      learningRate,
      random: random.state,
      state: await this.session.dump(),
    };
  }

  /** Parameters, moments, learning rate, step and random state as they were. Throws LearningError for another bundle's. */
  restore(snapshot: Snapshot): void {
    if (snapshot.bundle !== this.bundle.manifest.id) {
      throw new LearningError(
        `the snapshot is of bundle ${snapshot.bundle.slice(0, 12)}…, this is ${this.bundle.manifest.id.slice(0, 12)}…`,
      );
    }
    try {
      const random = Random.from(snapshot.random);
      this.session.restore(snapshot.state);
      this.random = random;
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new LearningError(`the snapshot cannot be continued (${error.message})`);
    }
    this.learningRate = snapshot.learningRate;
    this.step = snapshot.step;
    this.broken = null;
  }

  /** Parameters, moments and statistics that another client learnt from this bundle (`readCheckpoint`); learning rate and random
   * state stay. Throws LearningError for another mentee's. */
  load(state: State): void {
    try {
      this.session.restore(state);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new LearningError(`the checkpoint cannot be continued (${error.message})`);
    }
    this.step = state.taken * this.bundle.manifest.optimizerStep.accumulate;
    this.broken = null;
  }

  /** Back to the bundle's own parameters, learning rate, step 0 and seed 0. */
  reset(): void {
    this.session.reset();
    this.learningRate = this.bundle.manifest.learningRate;
    this.random = Random.seeded(0);
    this.step = 0;
    this.broken = null;
  }

  /** Releases the runtime's memory. */
  async close(): Promise<void> {
    this.pack = null;
    await this.session.release();
  }

  private requireFinite(): void {
    if (this.broken === null) return;
    throw new LearningError(
      `step ${this.step} left ${this.broken} with NaN or Inf, so the mentee can neither answer nor learn: reset it or restore a ` +
        "snapshot, and lower the learning rate",
    );
  }
}
