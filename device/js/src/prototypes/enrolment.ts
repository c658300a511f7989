// Classes by example: one to five samples make a class, without a step of training.
//
// A sample is compared by its embedding, centred on the base's mean and of length 1 (SimpleShot's CL2N, arXiv 1911.04623; on such
// vectors nearest by cosine is nearest by L2), then whitened by the spread of samples around their class's mean, and of length 1
// again (whitening.ts). Of a class that the bundle knows, its mean in the bundle stands beside the enrolled samples as if it were
// one more (MAP adaptation of a mean with a relevance factor of 1: Reynolds, Quatieri, Dunn 2000, section 3.4). Axes: N samples, D embedding, K the bundle's classes, C all classes (the bundle's, then the new ones).

import { SampleError } from "../bundle/preprocess.js";
import { CLASS_NAME, isClassName } from "../class-name.js";
import { highest } from "../guard/answers.js";
import { whitening } from "./whitening.js";

const MOST_PER_CLASS = 50; // enrolled samples of a class that stay: what bounds memory and the time of a comparison
const SHARPNESS = 20; // of the softmax over cosines; only how sure an answer sounds depends on it
const UNKNOWN = -1;

/** N samples, recognised: `classes` [N], places in `names` or −1 for "don't know", `probability` [N, C], and `similarity` [N], the
 * cosine to the nearest mean, which the floor is held against. */
export interface Recognised {
  readonly names: readonly string[];
  readonly classes: Int32Array;
  readonly probability: Float64Array;
  readonly similarity: Float32Array;
}

export interface Recognising {
  /** "Don't know" where the nearest mean's cosine is below it, −1 to 1. */
  readonly floor?: number;
  /** The mentee's own answer [N, K], which has a say of `softmaxShare` (.3) on *which* of the bundle's classes it is, none on
   * whether it is one of them or a new one. */
  readonly softmax?: Float64Array;
  readonly softmaxShare?: number;
}

/** The bundle's classes by their mean embedding, and whatever the owner enrols on top. Embeddings of one set of parameters only:
 * when the mentee learns, make it anew from the samples. */
export class Enrolment {
  private readonly centre: Float64Array; // [D]
  private readonly white: readonly Float64Array[] | null; // D rows
  private readonly base: readonly Float64Array[]; // K of [D]
  private readonly samples = new Map<string, Map<number, Float32Array>>();
  private readonly size: number; // D

  /** From embeddings [N, D] of the bundle's labelled replay samples, at least one a class (labels < 0 count for nothing). */
  constructor(
    private readonly baseClasses: readonly string[],
    embedding: Float32Array,
    labels: Int32Array,
  ) {
    this.size = embedding.length / labels.length;
    const rows = rowsOf(embedding, this.size);
    const missing = baseClasses.filter((_, place) => !labels.includes(place));
    if (missing.length) {
      throw new SampleError(
        `no labelled sample of ${missing.join(", ")} to start from: expected one of each of the bundle's classes`,
      );
    }
    const means = (of: readonly ArrayLike<number>[]): Float64Array[] =>
      baseClasses.map((_, place) =>
        meanOf(
          of.filter((_row, at) => labels[at] === place),
          this.size,
        ),
      );
    this.centre = meanOf(means(rows), this.size);
    const direction = rows.map((row) => this.direction(row));
    const labelled = Array.from(labels.keys()).filter((row) => (labels[row] ?? -1) >= 0);
    this.white = whitening(
      labelled.map((row) => direction[row] ?? new Float64Array(this.size)),
      labelled.map((row) => labels[row] ?? 0),
      means(direction),
    );
    this.base = means(rows.map((row) => this.unit(row)));
  }

  /** The bundle's, in its order, then the new ones in order of enrolment. */
  get classes(): string[] {
    return [...this.baseClasses, ...[...this.samples.keys()].filter((name) => !this.baseClasses.includes(name))];
  }

  /** Enrols samples [N, D] of class `name`, of the bundle or new; `numbers` name them for `remove`. Of a class the newest 50 stay. */
  add(name: string, embedding: Float32Array, numbers: readonly number[]): void {
    if (!isClassName(name)) throw new SampleError(`class name ${JSON.stringify(name)}: expected ${CLASS_NAME}`);
    const rows = rowsOf(embedding, this.size);
    const known = new Set(this.numbers());
    if (
      !rows.length ||
      numbers.length !== rows.length ||
      new Set(numbers).size !== numbers.length ||
      numbers.some((one) => known.has(one))
    ) {
      throw new SampleError(
        `numbers ${numbers.slice(0, 5)} for ${rows.length} samples: expected one each, none of them used before`,
      );
    }
    const own = this.samples.get(name) ?? new Map<number, Float32Array>();
    rows.forEach((row, place) => own.set(numbers[place] ?? 0, Float32Array.from(this.unit(row))));
    for (const number of own.keys()) if (own.size > MOST_PER_CLASS) own.delete(number);
    this.samples.set(name, own);
  }

  /** Numbers of all enrolled samples. */
  numbers(): number[] {
    return [...this.samples.values()].flatMap((own) => [...own.keys()]);
  }

  /** The class of the nearest mean: p(c) = softmax over classes of SHARPNESS · cosine. */
  recognise(embedding: Float32Array, { floor = -1, softmax, softmaxShare = 0.3 }: Recognising = {}): Recognised {
    const rows = rowsOf(embedding, this.size);
    const means = this.means();
    const [C, K] = [means.length, this.base.length];
    if (
      !(floor >= -1 && floor <= 1) ||
      !(softmaxShare >= 0 && softmaxShare <= 1) ||
      (softmax && softmax.length !== rows.length * K)
    ) {
      throw new SampleError(
        `floor ${floor}, softmaxShare ${softmaxShare}: expected −1 to 1, 0 to 1, and a softmax of ${K} a sample`,
      );
    }
    const probability = new Float64Array(rows.length * C);
    const similarity = new Float32Array(rows.length);
    const classes = Int32Array.from(rows, (row, at) => {
      const unit = this.unit(row);
      const cosine = means.map((mean) => dot(unit, mean));
      const most = Math.max(...cosine);
      const votes = cosine.map((one) => Math.exp(SHARPNESS * (one - most)));
      const sum = votes.reduce((all, one) => all + one, 0);
      const shares = Float64Array.from(votes, (vote) => vote / sum);
      if (softmax) blend(shares, softmax.subarray(at * K, (at + 1) * K), softmaxShare);
      probability.set(shares, at * C);
      similarity[at] = most;
      return Math.fround(most) < floor ? UNKNOWN : highest(shares);
    });
    return { names: this.classes, classes, probability, similarity };
  }

  /** Per class the mean of its samples, of length 1; one of the bundle's classes has its base mean among them. */
  private means(): Float64Array[] {
    return this.classes.map((name, place) => {
      const points: ArrayLike<number>[] = [...(this.samples.get(name)?.values() ?? [])];
      const base = this.base[place];
      return lengthOne(meanOf(base ? [base, ...points] : points, this.size));
    });
  }

  private unit(row: ArrayLike<number>): Float64Array {
    const direction = this.direction(row);
    return this.white === null ? direction : lengthOne(Float64Array.from(this.white, (axis) => dot(axis, direction)));
  }

  private direction(row: ArrayLike<number>): Float64Array {
    return lengthOne(this.centre.map((middle, place) => (row[place] ?? 0) - middle));
  }
}

function blend(shares: Float64Array, softmax: Float64Array, share: number): void {
  const known = shares.subarray(0, softmax.length).reduce((all, one) => all + one, 0);
  softmax.forEach((own, place) => void (shares[place] = (1 - share) * (shares[place] ?? 0) + share * known * own));
}

function rowsOf(embedding: Float32Array, size: number): Float32Array[] {
  if (!Number.isInteger(embedding.length / size))
    throw new SampleError(`embeddings of ${embedding.length} numbers: expected ${size} each`);
  if (!embedding.every(Number.isFinite)) throw new SampleError("embeddings hold NaN or Inf: expected finite numbers");
  return Array.from({ length: embedding.length / size }, (_, row) => embedding.subarray(row * size, (row + 1) * size));
}

function meanOf(points: readonly ArrayLike<number>[], size: number): Float64Array {
  return Float64Array.from(
    { length: size },
    (_, place) => points.reduce((all, one) => all + (one[place] ?? 0), 0) / points.length,
  );
}

function dot(one: Float64Array, other: Float64Array): number {
  return one.reduce((all, value, place) => all + value * (other[place] ?? 0), 0);
}

/** The centre itself is like nothing. */
function lengthOne(vector: Float64Array): Float64Array {
  const length = Math.sqrt(dot(vector, vector));
  return length === 0 ? vector : vector.map((value) => value / length);
}
