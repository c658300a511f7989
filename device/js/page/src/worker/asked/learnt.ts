// Which samples the version that answers has learnt from.

import type { Owner } from "../../../../src/index.js";

export function learntNumbers({ current, versions }: Owner): ReadonlySet<number> {
  const found = new Set<number>();
  const byNumber = new Map(versions.map((one) => [one.number, one]));
  for (let one = byNumber.get(current); one !== undefined; one = byNumber.get(one.parent)) {
    for (const number of one.learned) found.add(number);
  }
  return found;
}
