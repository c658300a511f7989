// Measures of a candidate on the golden set, and its limits: pure functions on answers.
//
// Axes: N samples of the golden set, K classes.

import { highestRows } from "./answers.js";
import { calibrationError, leastRise } from "./calibration.js";
import { UNLIKELY, binomialTail, lossBeyond } from "./chance.js";

const MOST = 2; // a loss of this many times its limit is refused whatever chance says
const SLACK = 1e-9; // a fall of exactly the limit must not hang on rounding

/** Limits on how far a candidate may move from the base, on the golden set; null leaves that unwatched.
 *
 * `goldenDrop`: points of accuracy, as a fraction, that may be lost. `classDrop`: the same for each class by itself.
 * `agreementLeast`: share of samples that must get the base's answer. `eceRise`: growth of the calibration error. Each is broken
 * by a change that is beyond it by more than chance leaves open (95 %), and by one of twice the limit at all. */
export interface Limits {
  readonly goldenDrop: number;
  readonly classDrop: number | null;
  readonly agreementLeast: number | null;
  readonly eceRise?: number | null;
}

/** The default holds accuracy alone: an owner wants other answers, and 0.02 is what replay costs at worst. */
export const LIMITS: Limits = { goldenDrop: 0.02, classDrop: null, agreementLeast: null };

/** A mentee on the golden set. Against the base, by class [K]: of `samples`, `right` are right, it alone is wrong on `lost` and it
 * alone right on `won`. `eceRise`: what its calibration error `ece` is at least above the base's (95 %). */
export interface Measured {
  readonly accuracy: number;
  readonly agreement: number; // share of answers equal to the base's
  readonly samples: readonly number[];
  readonly right: readonly number[];
  readonly lost: readonly number[];
  readonly won: readonly number[];
  readonly ece?: number; // where the limit is watched
  readonly eceRise?: number;
}

/** From the class that the mentee and the base answer, [N] each; N ≥ 1. */
export function measure(seen: Int32Array, labels: Int32Array, base: Int32Array, classes: number): Measured {
  const counts = () => new Array<number>(classes).fill(0);
  const [samples, right, lost, won] = [counts(), counts(), counts(), counts()];
  let agreed = 0;
  labels.forEach((label, row) => {
    const [now, before] = [seen[row] === label, base[row] === label];
    samples[label]!++;
    if (now) right[label]!++;
    if (before && !now) lost[label]!++;
    if (now && !before) won[label]!++;
    if (seen[row] === base[row]) agreed++;
  });
  return { accuracy: sum(right) / labels.length, agreement: agreed / labels.length, samples, right, lost, won };
}

/** `measure` by the logits [N, K], with the calibration error where `limits` watch it. */
export function measureLogits(
  logits: Float32Array,
  labels: Int32Array,
  base: Float32Array,
  K: number,
  { eceRise = null }: Pick<Limits, "eceRise">,
): Measured {
  const measured = measure(highestRows(logits, K), labels, highestRows(base, K), K);
  if (eceRise === null) return measured;
  return {
    ...measured,
    ece: calibrationError(logits, labels),
    eceRise: logits === base ? 0 : leastRise(logits, base, labels),
  };
}

/** Why `candidate` must not become current, a line each; empty where it may. A limit is met at equality.
 *
 * `gained`: the owner's held-out labels say that it is better for them, beyond chance. Then `goldenDrop` is broken only by twice
 * as much. */
export function judge(
  candidate: Measured,
  base: Measured,
  limits: Limits,
  names: readonly string[],
  gained = false,
): string[] {
  const reasons: string[] = [];
  const [lost, won, samples] = [sum(candidate.lost), sum(candidate.won), sum(candidate.samples)];
  const drop = beyond(lost, won, samples, limits.goldenDrop, gained ? 0 : UNLIKELY);
  if (drop) {
    reasons.push(
      `golden accuracy ${candidate.accuracy.toFixed(4)} is more than ${limits.goldenDrop} below the base's ` +
        `${base.accuracy.toFixed(4)}, ${drop}`,
    );
  }
  if (limits.agreementLeast !== null) {
    const others = Math.round((1 - candidate.agreement) * samples);
    const most = 1 - limits.agreementLeast;
    const byChance = binomialTail(others, samples, most) >= UNLIKELY;
    if (others > most * samples + SLACK && !(byChance && others <= MOST * most * samples + SLACK)) {
      reasons.push(
        `agrees with the base on ${candidate.agreement.toFixed(4)}, at least ${limits.agreementLeast} is wanted: ` +
          `${others} of ${samples} golden samples get another answer, ${how(byChance)}`,
      );
    }
  }
  if (limits.eceRise !== null && limits.eceRise !== undefined) {
    const [now, then] = [candidate.ece ?? 0, base.ece ?? 0];
    const byChance = (candidate.eceRise ?? 0) <= limits.eceRise;
    if (now - then > limits.eceRise + SLACK && !(byChance && now - then <= MOST * limits.eceRise + SLACK)) {
      reasons.push(
        `calibration error ${now.toFixed(4)} is more than ${limits.eceRise} above the base's ${then.toFixed(4)}, ${how(byChance)}`,
      );
    }
  }
  return [...reasons, ...classReasons(candidate, base, limits, names)];
}

/** As many tests as classes with samples, so each leaves chance less (Bonferroni). */
function classReasons(candidate: Measured, base: Measured, { classDrop }: Limits, names: readonly string[]): string[] {
  if (classDrop === null) return [];
  const tests = Math.max(1, candidate.samples.filter((of) => of > 0).length);
  return names.flatMap((name, place) => {
    const of = candidate.samples[place] ?? 0;
    const drop = beyond(candidate.lost[place] ?? 0, candidate.won[place] ?? 0, of, classDrop, UNLIKELY / tests);
    const share = (one: Measured): string => ((one.right[place] ?? 0) / of).toFixed(4);
    return drop
      ? [`class "${name}": ${share(candidate)} is more than ${classDrop} below the base's ${share(base)}, ${drop}`]
      : [];
  });
}

/** How a loss breaks `limit`, in words; "" where it does not. */
function beyond(lost: number, won: number, samples: number, limit: number, unlikely: number): string {
  const loss = lost - won;
  if (loss <= limit * samples + SLACK) return "";
  const byChance = !lossBeyond(lost, won, samples, limit, unlikely);
  if (byChance && loss <= MOST * limit * samples + SLACK) return "";
  return `${how(byChance)}: of ${samples} samples ${lost} are newly wrong, ${won} newly right`;
}

function how(byChance: boolean): string {
  return byChance ? `and more than ${MOST} times as much` : "beyond chance";
}

function sum(counts: readonly number[]): number {
  return counts.reduce((all, one) => all + one, 0);
}
