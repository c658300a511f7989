// The likeliest classes of one sample.

import type { Guess } from "../../shared/messages.js";

const SHOWN = 3;

/** `probability` [K] of the classes `names`; those of `hidden` are never said. */
export function likeliest(
  names: readonly string[],
  probability: Float64Array,
  hidden: ReadonlySet<string> = new Set(),
): Guess[] {
  return names
    .map((name, place) => ({ name, probability: probability[place] ?? 0 }))
    .filter(({ name }) => !hidden.has(name))
    .sort((one, other) => other.probability - one.probability)
    .slice(0, SHOWN);
}
