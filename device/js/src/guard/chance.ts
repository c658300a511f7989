// Exact one-sided tests on counts: whether chance explains a difference on the golden samples or on the owner's own.
//
// A paired comparison looks only at the samples on which one of two mentees alone is right (McNemar, Psychometrika 12, 1947): if
// both were equally good, each of them would be a toss of a fair coin.

export const UNLIKELY = 0.05;

/** P(X ≥ `least`) for X of Bin(`tosses`, `probability`). */
export function binomialTail(least: number, tosses: number, probability = 0.5): number {
  if (least <= 0) return 1;
  if (least > tosses || probability <= 0) return 0;
  if (probability >= 1) return 1;
  let ways = 0; // log of C(tosses, heads)
  let sum = 0;
  for (let heads = 0; heads <= tosses; heads++) {
    if (heads > 0) ways += Math.log((tosses - heads + 1) / heads);
    if (heads >= least)
      sum += Math.exp(ways + heads * Math.log(probability) + (tosses - heads) * Math.log1p(-probability));
  }
  return Math.min(1, sum);
}

/** Whether (lost − won) / samples is larger than `limit` by more than chance leaves open.
 *
 * `lost`: samples that only the first of two mentees is right on, `won`: those that only the second is. Given how many changed, a
 * loss of exactly `limit` means that each was lost with probability (1 + limit · samples / changed) / 2. */
export function lossBeyond(lost: number, won: number, samples: number, limit: number, unlikely = UNLIKELY): boolean {
  const changed = lost + won;
  if (lost - won <= limit * samples) return false;
  return binomialTail(lost, changed, (1 + (limit * samples) / changed) / 2) < unlikely;
}

/** McNemar's exact test, two-sided, 95 %: whether the one that alone is right on `more` is better than that on `less`. */
export function betterBeyondChance(more: number, less: number): boolean {
  return more > less && 2 * binomialTail(more, more + less) < UNLIKELY;
}
