// Two ways to bring learning to another base, and which of them is the better: no state, no storage.
//
// Replay learns the owner's samples anew from the new base; a delta adds to the new base what learning had added to the old one
// (task arithmetic, arXiv 2212.04089, with a factor of 1). Axes: N samples, K classes.

import type { Samples } from "../bundle/packs.js";
import type { Part } from "../bundle/manifest/stock.js";
import { softmax } from "../guard/answers.js";
import { clearlyBetter, clearlyWorse, compared, inWords } from "../guard/holdout.js";
import { judge, measureLogits, type Limits } from "../guard/measures.js";
import type { Learner } from "../learner/learner.js";
import type { State } from "../learner/session.js";
import { right } from "../owner/runs/verdict.js";

/** Accuracy on the golden set, accuracy and mean cross-entropy on samples of the owner (null where there are none), and what the
 * guard has against it. */
export interface Score {
  readonly golden: number;
  readonly owner: number | null;
  readonly loss: number | null;
  readonly reasons: readonly string[];
}

/** Whether `one` ranks above `other`: by the mean of both accuracies, then by the lower cross-entropy. */
export function above(one: Score, other: Score): boolean {
  const [[first, second], [third, fourth]] = [rank(one), rank(other)];
  return first > third || (first === third && second > fourth);
}

function rank({ golden, owner, loss }: Score): readonly [number, number] {
  const rounded = (value: number): number => Math.round(value * 1e9) / 1e9;
  return owner === null || loss === null ? [rounded(golden), 0] : [rounded((golden + owner) / 2), -loss];
}

export function scoreInWords({ golden, owner, loss }: Score): string {
  const more = owner === null ? "" : `, owner's samples ${owner.toFixed(4)} (cross-entropy ${(loss ?? 0).toFixed(4)})`;
  return `golden ${golden.toFixed(4)}${more}`;
}

/** Scores mentees of one bundle against its base. */
export class Judge {
  private constructor(
    private readonly golden: Samples,
    private readonly base: Float32Array,
    private readonly names: readonly string[],
    private readonly limits: Limits,
  ) {}

  /** `fresh` is at the base. */
  static async of(fresh: Learner, limits: Limits): Promise<Judge> {
    const golden = await fresh.bundle.golden();
    const { logits } = await fresh.predict(golden.input);
    return new Judge(golden, logits, fresh.bundle.manifest.classes, limits);
  }

  /** `before`, of samples that nobody has learnt from: whether the mentee that stays otherwise is right on each. They are evidence
   * then, as at the end of a run. */
  async score(learner: Learner, owner: Samples, before: readonly boolean[] | null): Promise<Score> {
    const { golden, base, names, limits } = this;
    const held = before === null ? null : compared(before, await right(learner, owner));
    const measured = (logits: Float32Array) => measureLogits(logits, golden.labels, base, names.length, limits);
    const found = measured((await learner.predict(golden.input)).logits);
    const reasons = judge(found, measured(base), limits, names, held !== null && clearlyBetter(held));
    if (held !== null && clearlyWorse(held)) reasons.push(`worse for the owner, beyond chance: ${inWords(held)}`);
    if (!owner.labels.length) return { golden: found.accuracy, owner: null, loss: null, reasons };
    const { logits, classes } = await learner.predict(owner.input);
    const K = names.length;
    const probability = softmax(logits, K);
    let [hits, loss] = [0, 0];
    owner.labels.forEach((label, row) => {
      hits += Number(classes[row] === label);
      loss -= Math.log(Math.max(probability[row * K + label] ?? 0, 1e-12));
    });
    const N = owner.labels.length;
    return { golden: found.accuracy, owner: hits / N, loss: loss / N, reasons };
  }
}

/** A base or what was learnt on it: parameters by name, names of classes, module path of the classifier. */
export interface Named {
  readonly state: Pick<State, "vectors" | "parameters" | "statistics">;
  readonly classes: readonly string[];
  readonly head: string;
}

/** The vectors of `fresh` with what learning moved from `old` to `personal` added, where name and shape agree; of the classifier row
 * by row where the class's name agrees. null where no parameter agrees. */
export function transferred(fresh: Named, old: Named, personal: Named["state"]): Map<string, Float32Array> | null {
  const vectors = new Map(Array.from(fresh.state.vectors, ([name, values]) => [name, values.slice()]));
  let moved = false;
  for (const kind of ["parameters", "statistics"] as const) {
    const target = vectors.get(kind);
    for (const part of fresh.state[kind]) {
      const [before, after] = [arrayOf(old.state, part.name), arrayOf(personal, part.name)];
      if (target === undefined || before === null || after === null || !same(before.shape, after.shape)) continue;
      const rows = rowsOf(part, before.shape, fresh, old);
      if (rows === null) continue;
      const each = size(part.shape) / (rows.length ? (part.shape[0] ?? 1) : 1);
      const pairs = rows.length ? rows : [[0, 0] as const];
      for (const [to, from] of pairs) {
        for (let i = 0; i < each; i++) {
          const place = part.offset + to * each + i;
          const change = Math.fround((after.values[from * each + i] ?? 0) - (before.values[from * each + i] ?? 0));
          target[place] = (target[place] ?? 0) + change;
        }
      }
      moved = true;
    }
  }
  return moved ? vectors : null;
}

/** Pairs of rows of the classifier, none where the whole array is one; null where it cannot move. */
function rowsOf(part: Part, shape: readonly number[], fresh: Named, old: Named): (readonly [number, number])[] | null {
  const module = part.name.slice(0, Math.max(0, part.name.lastIndexOf(".")));
  const heads = module === fresh.head && fresh.head === old.head;
  if (heads && shape[0] === old.classes.length && same(shape.slice(1), part.shape.slice(1))) {
    return old.classes.flatMap((name, from) => {
      const to = fresh.classes.indexOf(name);
      return to < 0 ? [] : [[to, from] as const];
    });
  }
  return same(shape, part.shape) ? [] : null;
}

function arrayOf(
  { vectors, parameters, statistics }: Named["state"],
  name: string,
): { values: Float32Array; shape: readonly number[] } | null {
  for (const [kind, parts] of [
    ["parameters", parameters],
    ["statistics", statistics],
  ] as const) {
    const part = parts.find((one) => one.name === name);
    const vector = vectors.get(kind);
    if (part !== undefined && vector !== undefined) {
      return { values: vector.subarray(part.offset, part.offset + size(part.shape)), shape: part.shape };
    }
  }
  return null;
}

function same(one: readonly number[], other: readonly number[]): boolean {
  return one.length === other.length && one.every((value, place) => value === other[place]);
}

function size(shape: readonly number[]): number {
  return shape.reduce((all, one) => all * one, 1);
}

/** What `holdOut` asks of a sample. */
export interface Labelled {
  readonly number: number;
  readonly label: number;
  readonly source: string;
}

/** A quarter of each class with at least two samples that the owner labelled, at least one: first those that were never learnt
 * from, of these the newest. */
export function holdOut(stored: readonly Labelled[], learned: ReadonlySet<number>): Set<number> {
  const byClass = new Map<number, number[]>();
  for (const { number, label, source } of stored) {
    if (source === "owner" && label >= 0) byClass.set(label, [...(byClass.get(label) ?? []), number]);
  }
  const held = new Set<number>();
  for (const numbers of byClass.values()) {
    if (numbers.length < 2) continue;
    const order = numbers.sort((one, other) => Number(learned.has(one)) - Number(learned.has(other)) || other - one);
    for (const number of order.slice(0, Math.max(1, Math.floor(numbers.length / 4)))) held.add(number);
  }
  return held;
}
