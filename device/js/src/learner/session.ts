// The three graphs of a bundle's stock/ and the state that they turn into the next: flat vectors, which stay with the runtime.
//
// What a runtime makes of a vector is fed back as it is. Outputs that are allocated beforehand (`fetches`) bring nothing: of 1.30,
// onnxruntime-node copies them all the same, and onnxruntime-web leaves them as they were.
//
// A gradient step has two halves, so that a loss can be looked at before it changes anything: `forwardBackward` computes, then
// either `apply` moves the parameters or `discard` drops the gradients. Axes: P parameters, S running statistics.

import type { InferenceSession, Tensor } from "onnxruntime-common";

import type { Bundle } from "../bundle/bundle.js";
import { BundleError, shown } from "../bundle/errors.js";
import type { Graph } from "../bundle/manifest/parts.js";
import { SEED, requireNames, vectorsOf, type Part, type Stock } from "../bundle/manifest/stock.js";
import { NotTensors, readTensors, type Tensors } from "../tensors/safetensors.js";
import { feedsOf, type Batch, type Feed } from "./batch.js";
import { withWeights } from "./external.js";
import { notOpened, notRun, requireRuntime } from "./refusals.js";
import { DEFAULT_OPTIONS, type Runtime, type SessionOptions } from "./runtime.js";
import { Vectors, dispose, isOnCard } from "./vectors.js";

const SEEDS = 2 ** 24; // whole numbers that float32 holds
const LARGEST_GRADIENT = 1e18; // its square must fit float32, or AdamW's second moment is Inf for good

/** The vectors that there are, float32, where their parts lie, and steps of the optimizer so far. */
export interface State {
  readonly vectors: ReadonlyMap<string, Float32Array>;
  readonly parameters: readonly Part[];
  readonly statistics: readonly Part[];
  readonly taken: number;
}

/** What a graph answered, by its output's name. */
export type Answers = ReadonlyMap<string, Float32Array>;

export class StockSession {
  private readonly state = new Map<string, Tensor>();
  private readonly vectors: Vectors;
  private gradient: Tensor | null = null;
  private before: Tensor | undefined; // statistics before the last pass
  private collected = 0; // batches whose gradients wait for the rest of their step
  private taken = 0;
  private released: Promise<void> | null = null;

  private constructor(
    private readonly bundle: Bundle,
    private readonly runtime: Runtime,
    private readonly gradients: InferenceSession,
    private readonly optimizer: InferenceSession,
    private readonly answering: InferenceSession,
    private readonly base: State,
    options: SessionOptions,
  ) {
    this.vectors = new Vectors(runtime, options);
  }

  /** Throws BundleError for a bundle without these graphs, or with others than it says, RuntimeError for a runtime that
   * cannot start or run them. */
  static async open(bundle: Bundle, runtime: Runtime, options: SessionOptions = {}): Promise<StockSession> {
    requireRuntime(runtime);
    const { stock } = bundle.manifest;
    if (stock === null)
      throw new BundleError(
        "the bundle has no stock graphs, only ones for ONNX Runtime Training: export it again with backend=stock or both",
      );
    const stored = await bundle.read(stock.state);
    const base = baseOf(stored, stock);
    const files = new Map([[stock.state, stored]]);
    const given = { ...DEFAULT_OPTIONS, ...options };
    const opened = async ({ file, inputs, outputs }: Graph): Promise<InferenceSession> => {
      const model = withWeights(await bundle.read(file), inFolder(files, file));
      let session: InferenceSession;
      try {
        session = await runtime.InferenceSession.create(model, { ...placed(outputs, given), ...given });
      } catch (error) {
        throw notOpened(error, file);
      }
      requireNames(`the inputs of ${file}`, inputs, session.inputNames);
      requireNames(`the outputs of ${file}`, outputs, session.outputNames);
      return session;
    };
    const session = new StockSession(
      bundle,
      runtime,
      await opened(stock.gradients),
      await opened(stock.optimizer),
      await opened(stock.forward),
      base,
      given,
    );
    session.reset();
    return session;
  }

  /** Back to the bundle's own parameters, without moments. */
  reset(): void {
    this.restore(this.base);
  }

  /** Parameters, moments, statistics and steps as they were. Throws RangeError for those of another mentee. */
  restore({ vectors, taken, parameters, statistics }: State): void {
    if (JSON.stringify([parameters, statistics]) !== JSON.stringify([this.base.parameters, this.base.statistics])) {
      throw new RangeError("its parameters are of other names, shapes or order than this bundle's");
    }
    for (const [name, values] of this.base.vectors) {
      const given = vectors.get(name);
      if (given?.length !== values.length) {
        throw new RangeError(`${name} has ${given?.length ?? 0} numbers, expected ${values.length}`);
      }
      this.set(name, this.tensor({ type: "float32", data: given.slice(), dims: [given.length] }));
    }
    this.taken = taken;
    this.drop();
  }

  /** Copies. */
  async dump(): Promise<State> {
    const read = Array.from(this.state, async ([name, tensor]) => [name, (await numbers(tensor)).slice()] as const);
    const { parameters, statistics } = this.base;
    return { vectors: new Map(await Promise.all(read)), parameters, statistics, taken: this.taken };
  }

  /** Whether gradients wait for the rest of their step. */
  get collecting(): boolean {
    return this.collected > 0;
  }

  /** logits and embedding of preprocessed samples [B, C, H, W]; changes nothing. */
  async forward(input: Float32Array): Promise<{ logits: Float32Array; embedding: Float32Array }> {
    const { shape } = this.bundle.manifest.preprocessing;
    const B = input.length / shape.reduce((all, size) => all * size, 1);
    const feed: Feed = { type: "float32", data: input, dims: [B, ...shape] };
    const outputs = await this.run(this.answering, new Map([["input", feed]]), ["logits", "embedding"]);
    return { logits: await numbers(outputs["logits"]), embedding: await numbers(outputs["embedding"]) };
  }

  /** Outputs by name, the loss and its terms among them; adds to the gradients that `apply` or `discard` end. `step` is what
   * Dropout's masks depend on. */
  async forwardBackward(batch: Batch, step: number): Promise<Answers> {
    const { accumulate } = this.bundle.manifest.optimizerStep;
    const share = Math.fround(1 / accumulate); // so that the sum over the batches of a step is their mean
    const { alpha, beta, gamma } = batch.knobs;
    const knobs = { ...batch.knobs, alpha: alpha * share, beta: beta * share, gamma: gamma * share };
    const feeds = feedsOf(this.bundle.manifest, accumulate === 1 ? batch : { ...batch, knobs });
    feeds.set(SEED, { type: "float32", data: Float32Array.of(step % SEEDS), dims: [1] });
    const terms = ["loss", ...this.bundle.manifest.terms];
    const statistics = this.state.get("statistics");
    const wanted = [...terms, "gradient", ...(statistics === undefined ? [] : ["new_statistics"])]; // not logits and embedding
    const outputs = await this.run(this.gradients, feeds, wanted);
    dispose(this.before);
    this.before = statistics;
    if (statistics !== undefined) this.state.set("statistics", required(outputs, "new_statistics"));
    const gradient = required(outputs, "gradient");
    this.gradient = this.gradient === null ? gradient : await this.vectors.sum(this.gradient, gradient);
    const answers = new Map<string, Float32Array>();
    for (const name of terms) answers.set(name, await numbers(outputs[name]));
    const loss = answers.get("loss") ?? new Float32Array(1);
    answers.set("loss", Float32Array.of((loss[0] ?? 0) * accumulate));
    return answers;
  }

  /** Whether every gradient is finite and small enough to square. */
  async gradientsUsable(): Promise<boolean> {
    return this.gradient === null || this.vectors.below(this.gradient, LARGEST_GRADIENT);
  }

  /** One step of the optimizer, or where the bundle accumulates one with every so many calls: the others keep the gradients for
   * it, which are in no `dump`. */
  async apply(learningRate: number): Promise<void> {
    this.keepStatistics();
    if (++this.collected < this.bundle.manifest.optimizerStep.accumulate) return;
    await this.endCollecting(learningRate);
  }

  /** Takes the step that gradients wait for with those there are. */
  async endCollecting(learningRate: number): Promise<void> {
    if (this.gradient === null || !this.collecting) return;
    const scalar = (value: number): Feed => ({ type: "float32", data: Float32Array.of(value), dims: [1] });
    const feeds = new Map([
      ["learning_rate", scalar(learningRate)],
      ["step", scalar(this.taken + 1)],
    ]);
    const outputs = await this.run(this.optimizer, feeds, this.optimizer.outputNames, this.gradient);
    for (const output of this.optimizer.outputNames) this.set(output.replace(/^new_/, ""), required(outputs, output));
    this.taken++;
    this.drop();
  }

  /** Drops the gradients at hand, those collected for a step included. Running statistics are as before the last
   * `forwardBackward` that no `apply` followed, if there is one. */
  discard(): void {
    if (this.before !== undefined) this.set("statistics", this.before);
    this.before = undefined;
    this.drop();
  }

  /** The vector of the state that holds NaN or Inf, if one does. */
  async notFinite(): Promise<string | null> {
    for (const name of ["parameters", "statistics"] as const) {
      const tensor = this.state.get(name);
      if (tensor !== undefined && !(await this.vectors.below(tensor, Number.POSITIVE_INFINITY))) return name;
    }
    return null;
  }

  /** Once: again it waits for the first. */
  release(): Promise<void> {
    return (this.released ??= this.lettingGo());
  }

  private async lettingGo(): Promise<void> {
    for (const tensor of this.state.values()) dispose(tensor);
    this.drop();
    for (const session of [this.gradients, this.optimizer, this.answering]) await session.release();
    await this.vectors.release();
  }

  private drop(): void {
    dispose(this.gradient);
    this.gradient = null;
    this.keepStatistics();
    this.collected = 0;
  }

  /** Those of now, which `discard` no longer takes back. */
  private keepStatistics(): void {
    dispose(this.before);
    this.before = undefined;
  }

  private set(name: string, tensor: Tensor): void {
    dispose(this.state.get(name));
    this.state.set(name, tensor);
  }

  /** Feeds what of the state and of `feeds` the graph takes; its `wanted` outputs. */
  private async run(
    session: InferenceSession,
    feeds: ReadonlyMap<string, Feed>,
    wanted: readonly string[],
    gradient?: Tensor,
  ): Promise<InferenceSession.OnnxValueMapType> {
    const given: Record<string, Tensor> = {};
    for (const name of session.inputNames) {
      const feed = feeds.get(name);
      const tensor = name === "gradient" ? gradient : (this.state.get(name) ?? (feed && this.tensor(feed)));
      if (tensor === undefined) throw new BundleError(`a stock graph wants ${shown(name)}, which this format has not`);
      given[name] = tensor;
    }
    try {
      return await session.run(given, wanted);
    } catch (error) {
      throw notRun(error, this.fileOf(session), this.vectors.onCard);
    }
  }

  private fileOf(session: InferenceSession): string {
    const { gradients, optimizer, forward } = this.bundle.manifest.stock ?? {};
    return (session === this.gradients ? gradients : session === this.optimizer ? optimizer : forward)?.file ?? "";
  }

  private tensor({ type, data, dims }: Feed): Tensor {
    return new this.runtime.Tensor(type as "float32", data as Float32Array, dims);
  }
}

/** The vectors that the graphs have, moments 0. Throws BundleError. */
function baseOf(file: Uint8Array, stock: Stock): State {
  const { tensors } = stateOf(file, stock.state);
  const vectors = new Map<string, Float32Array>();
  for (const [name, size] of vectorsOf(stock)) {
    if (name.startsWith("moment")) {
      vectors.set(name, new Float32Array(size));
      continue;
    }
    const stored = tensors.get(name);
    if (stored?.dtype !== "F32" || stored.data.length !== size) {
      throw new BundleError(`${stock.state} has no ${name} of ${size} float32 numbers: make the bundle again`);
    }
    const values = stored.data as Float32Array;
    if (!values.every(Number.isFinite)) throw new BundleError(`${stock.state} holds NaN or Inf in ${name}: refused`);
    vectors.set(name, values);
  }
  return { vectors, parameters: stock.parameters, statistics: stock.statistics, taken: 0 };
}

/** On the card: vectors that are fed again; all else is read. */
function placed(outputs: readonly string[], options: SessionOptions): SessionOptions {
  if (!isOnCard(options)) return {};
  const stay = outputs.filter((name) => name === "gradient" || name.startsWith("new_"));
  return { preferredOutputLocation: Object.fromEntries(stay.map((name) => [name, "gpu-buffer" as const])) };
}

function stateOf(file: Uint8Array, name: string): Tensors {
  try {
    return readTensors(file);
  } catch (error) {
    if (!(error instanceof NotTensors)) throw error;
    throw new BundleError(`${name} is not a safetensors file (${error.message}): make the bundle again`);
  }
}

/** `files` as a graph at `place` calls them: an external path is relative to it. */
function inFolder(files: ReadonlyMap<string, Uint8Array>, place: string): Map<string, Uint8Array> {
  const folder = place.slice(0, place.lastIndexOf("/") + 1);
  return new Map(
    Array.from(files, ([name, content]) => [name.startsWith(folder) ? name.slice(folder.length) : name, content]),
  );
}

function required(outputs: InferenceSession.OnnxValueMapType, name: string): Tensor {
  const found = outputs[name];
  if (found === undefined) throw new BundleError(`a stock graph has no output ${shown(name)}`);
  return found as Tensor;
}

async function numbers(tensor: InferenceSession.OnnxValueMapType[string] | undefined): Promise<Float32Array> {
  if (tensor === undefined) throw new BundleError(`a stock graph lacks an output that this format has`);
  return (await (tensor as Tensor).getData()) as Float32Array;
}
