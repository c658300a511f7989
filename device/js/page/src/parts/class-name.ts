// A class as a person reads it, and as a screen reader says it.

import { EMOJI } from "../shared/emoji.js";

const WORDS = new Map(EMOJI);

/** The emoji with its word; other names as they are. */
export function spoken(name: string): string {
  const word = WORDS.get(name);
  return word === undefined ? name : `${name} ${word}`;
}
