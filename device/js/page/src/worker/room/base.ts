// The bundle's own mentee, beside the one that learns: what it would have said.
//
// Axes: N samples, K classes.

import { preprocess, softmax, type Bundle } from "../../../../src/index.js";
import { withWeights } from "../../../../src/learner/external.js";
import type { Loaded } from "./runtime.js";

type Session = Awaited<ReturnType<Loaded["runtime"]["InferenceSession"]["create"]>>;

export class BaseMentee {
  private constructor(
    private readonly bundle: Bundle,
    private readonly loaded: Loaded,
    private readonly session: Session,
  ) {}

  static async open(bundle: Bundle, loaded: Loaded): Promise<BaseMentee> {
    const { inference, stock } = bundle.manifest;
    const weights = new Map(stock === null ? [] : [[stock.state, await bundle.read(stock.state)]]);
    const graph = withWeights(await bundle.read(inference.file), weights);
    const options = { intraOpNumThreads: 1, logSeverityLevel: 4, ...loaded.options } as const;
    return new BaseMentee(bundle, loaded, await loaded.runtime.InferenceSession.create(graph, options));
  }

  /** [N, K] of raw samples [N, C, H, W]. */
  async probabilities(input: Uint8Array): Promise<Float64Array> {
    const { preprocessing, classes, inference } = this.bundle.manifest;
    const K = classes.length;
    const each = preprocessing.shape.reduce((all, size) => all * size, 1);
    const found = new Float64Array((input.length / each) * K);
    for (let start = 0; start * each < input.length; start += 64) {
      const part = preprocess(input.subarray(start * each, (start + 64) * each), preprocessing);
      const tensor = new this.loaded.runtime.Tensor("float32", part, [part.length / each, ...preprocessing.shape]);
      const answers = await this.session.run({ [inference.inputs[0] ?? "input"]: tensor }, ["logits"]);
      found.set(softmax((await answers["logits"]?.getData()) as Float32Array, K), start * K);
    }
    return found;
  }

  /** On the golden set, 0 to 1. */
  async accuracy(): Promise<number> {
    const { input, labels } = await this.bundle.golden();
    const K = this.bundle.manifest.classes.length;
    const shares = await this.probabilities(input as Uint8Array);
    const right = labels.filter((label, row) => {
      const row_K = shares.subarray(row * K, (row + 1) * K);
      return row_K.every((share) => share <= (row_K[label] ?? 0));
    });
    return right.length / labels.length;
  }

  async close(): Promise<void> {
    await this.session.release();
  }
}
