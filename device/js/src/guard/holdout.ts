// The owner's labels that a run does not learn from: which, and what they say of it.

import { Random } from "../learner/random.js";
import { UNLIKELY, binomialTail } from "./chance.js";

/** A stored sample with a label of the owner's. */
export interface Labelled {
  readonly number: number;
  readonly label: number;
}

/** Numbers of the samples that judge a run: of each class that the owner labelled, `share` of the samples, rounded, first those
 * that a fixed draw by number puts first. None of `learnt`, and never the last one of its class.
 *
 * The draw is the sample's own, so the same store gives the same samples, and one that joins it moves few. */
export function heldOut(labelled: readonly Labelled[], share: number, learnt: ReadonlySet<number>): number[] {
  if (!share) return [];
  const byClass = new Map<number, number[]>();
  for (const { number, label } of labelled) byClass.set(label, [...(byClass.get(label) ?? []), number]);
  const held = Array.from(byClass.values(), (numbers) => {
    const most = Math.min(halfEven(share * numbers.length), numbers.length - 1);
    const fresh = numbers
      .filter((number) => !learnt.has(number))
      .map((number) => [Random.seeded(number).double(), number] as const);
    return fresh
      .sort(([one], [other]) => one - other)
      .slice(0, most)
      .map(([, number]) => number);
  });
  return held.flat().sort((one, other) => one - other);
}

/** Counts over `samples` held-out samples: `before` are right before the run, `after` after it; `better` and `worse` are those that
 * only the later or only the earlier mentee is right on. */
export interface HeldOut {
  readonly samples: number;
  readonly before: number;
  readonly after: number;
  readonly better: number;
  readonly worse: number;
}

/** From who is right on which. */
export function compared(before: readonly boolean[], after: readonly boolean[]): HeldOut {
  const count = (holds: (row: number) => boolean): number => before.filter((_, row) => holds(row)).length;
  return {
    samples: before.length,
    before: count((row) => before[row] === true),
    after: count((row) => after[row] === true),
    better: count((row) => after[row] === true && before[row] !== true),
    worse: count((row) => before[row] === true && after[row] !== true),
  };
}

/** Beyond what chance leaves open (95 %, one-sided). */
export function clearlyWorse({ better, worse }: HeldOut): boolean {
  return worse > better && binomialTail(worse, worse + better) < UNLIKELY;
}

export function clearlyBetter({ better, worse }: HeldOut): boolean {
  return better > worse && binomialTail(better, worse + better) < UNLIKELY;
}

export function inWords({ samples, before, after }: HeldOut): string {
  return `of ${samples} held-out labels ${before} were right before and ${after} after`;
}

function halfEven(value: number): number {
  const down = Math.floor(value);
  return value - down === 0.5 ? down + (down % 2) : Math.round(value);
}
