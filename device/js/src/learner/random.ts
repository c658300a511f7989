// Draws as numpy's default_rng does (PCG64, O'Neill 2014, seeded by SeedSequence): the same seed draws the same batches on every
// client, and an owner's state takes its random state along. JavaScript has no generator that can be seeded.

const MASK64 = 2n ** 64n - 1n;
const MASK128 = 2n ** 128n - 1n;
const MULTIPLIER = (2549297995355413924n << 64n) | 4865540595714422341n;
const POOL = 4; // words of a SeedSequence
const TAIL_ABOVE = 10_000; // choices out of more than so many, and
const TAIL_SHARE = 50; // of more than one in so many, shuffle the end of a list

/** numpy's `bit_generator.state`, as JSON has it, whole numbers exact. */
export interface RandomState {
  readonly bit_generator: "PCG64";
  readonly state: { readonly state: bigint; readonly inc: bigint };
  readonly has_uint32: number;
  readonly uinteger: number;
}

export class Random {
  private constructor(
    private current: bigint,
    private readonly increment: bigint,
    private half: number | null, // 32 bits of the last 64 that are not used yet
    private last: number,
  ) {}

  /** `seed`: a whole number of at least 0. */
  static seeded(seed: number | bigint): Random {
    const [a = 0n, b = 0n, c = 0n, d = 0n] = seedWords(BigInt(seed));
    const random = new Random(0n, ((((c << 64n) | d) << 1n) | 1n) & MASK128, null, 0);
    random.advance();
    random.current = (random.current + ((a << 64n) | b)) & MASK128;
    random.advance();
    return random;
  }

  /** Goes on where `state` was taken. Throws RangeError for none. */
  static from({ bit_generator, state, has_uint32, uinteger }: RandomState): Random {
    const fits = (value: bigint): boolean => typeof value === "bigint" && value >= 0n && value <= MASK128;
    const word = Number.isInteger(uinteger) && uinteger >= 0 && uinteger < 2 ** 32;
    if (bit_generator !== "PCG64" || !fits(state.state) || !fits(state.inc) || !word) {
      throw new RangeError("the random state is none of numpy's PCG64");
    }
    return new Random(state.state, state.inc, has_uint32 ? uinteger : null, uinteger);
  }

  get state(): RandomState {
    const state = { state: this.current, inc: this.increment };
    return { bit_generator: "PCG64", state, has_uint32: this.half === null ? 0 : 1, uinteger: this.last };
  }

  /** 0 to 1, in steps of 2⁻⁵³: numpy's `random()`. */
  double(): number {
    return Number(this.next64() >> 11n) / 2 ** 53;
  }

  /** `size` different whole numbers below `count`, in random order: numpy's `choice(count, size, replace=False)`. */
  choice(count: number, size: number): Int32Array {
    if (count > TAIL_ABOVE && size > Math.floor(count / TAIL_SHARE)) {
      const all = Int32Array.from({ length: count }, (_, place) => place);
      this.shuffleEnd(all, Math.max(count - size, 1));
      return all.slice(count - size);
    }
    const chosen = new Set<number>(); // R. W. Floyd's sampling
    for (let last = count - size; last < count; last++) {
      const one = this.below(last);
      chosen.add(chosen.has(one) ? last : one);
    }
    const order = Int32Array.from(chosen);
    this.shuffleEnd(order, 1);
    return order;
  }

  /** `values` in random order: numpy's `permutation`. */
  permutation(values: Int32Array): Int32Array {
    const order = values.slice();
    for (let place = order.length - 1; place >= 1; place--) {
      const mask = 2 ** (32 - Math.clz32(place)) - 1;
      let other: number;
      do other = this.next32() & mask;
      while (other > place);
      [order[place], order[other]] = [order[other] ?? 0, order[place] ?? 0];
    }
    return order;
  }

  /** A whole number below `end`: numpy's `integers(end)`. */
  integer(end: number): number {
    return this.below(end - 1);
  }

  /** How often each of `count` equally likely outcomes came in `count` draws: numpy's `multinomial(count, [1/count, …])`. */
  multinomial(count: number): Int32Array {
    const counts = new Int32Array(count);
    let [left, rest] = [count, 1];
    for (let place = 0; place < count - 1 && left > 0; place++) {
      left -= counts[place] = this.binomial(left, 1 / count / rest);
      rest -= 1 / count;
    }
    if (left > 0) counts[count - 1] = left;
    return counts;
  }

  /** numpy's `binomial` for a mean of at most 30, by inversion (Kachitvichyanukul and Schmeiser, 1988). */
  private binomial(tosses: number, probability: number): number {
    if (!tosses) return 0;
    if (probability > 0.5) return tosses - this.inverted(tosses, 1 - probability);
    return this.inverted(tosses, probability);
  }

  private inverted(tosses: number, p: number): number {
    const q = 1 - p;
    const none = Math.exp(tosses * Math.log(q));
    const bound = Math.trunc(Math.min(tosses, tosses * p + 10 * Math.sqrt(tosses * p * q + 1)));
    let [heads, way, drawn] = [0, none, this.double()];
    while (drawn > way) {
      heads++;
      if (heads > bound) [heads, way, drawn] = [0, none, this.double()];
      else {
        drawn -= way;
        way = ((tosses - heads + 1) * p * way) / (heads * q);
      }
    }
    return heads;
  }

  private shuffleEnd(values: Int32Array, first: number): void {
    for (let place = values.length - 1; place >= first; place--) {
      const other = this.below(place);
      [values[place], values[other]] = [values[other] ?? 0, values[place] ?? 0];
    }
  }

  /** 0 … `most`, each as likely (Lemire, arXiv 1805.10941). */
  private below(most: number): number {
    if (most === 0) return 0;
    const count = BigInt(most) + 1n;
    const unfair = 2n ** 32n % count;
    let product: bigint;
    do product = BigInt(this.next32()) * count;
    while ((product & 0xffffffffn) < unfair);
    return Number(product >> 32n);
  }

  private next32(): number {
    if (this.half !== null) {
      const kept = this.half;
      this.half = null;
      return kept;
    }
    const whole = this.next64();
    this.last = Number(whole >> 32n);
    this.half = this.last;
    return Number(whole & 0xffffffffn);
  }

  private next64(): bigint {
    this.advance();
    const mixed = (this.current >> 64n) ^ (this.current & MASK64);
    const turn = this.current >> 122n;
    return ((mixed >> turn) | (mixed << (64n - turn))) & MASK64;
  }

  private advance(): void {
    this.current = (this.current * MULTIPLIER + this.increment) & MASK128;
  }
}

/** Four numbers of 64 bits that `seed` is spread over: numpy's SeedSequence. */
function seedWords(seed: bigint): bigint[] {
  const words: number[] = [];
  for (let rest = seed; rest > 0n || !words.length; rest >>= 32n) words.push(Number(rest & 0xffffffffn));
  const hash = hasher(0x43b0d7e5, 0x931e8875);
  const pool = Array.from({ length: POOL }, (_, place) => hash(words[place] ?? 0));
  const stir = (value: number, to: number): void => void (pool[to] = mixed(pool[to] ?? 0, hash(value)));
  for (let from = 0; from < POOL; from++) {
    for (let to = 0; to < POOL; to++) if (from !== to) stir(pool[from] ?? 0, to);
  }
  for (const word of words.slice(POOL)) for (let to = 0; to < POOL; to++) stir(word, to);
  const spread = hasher(0x8b51f9dd, 0x58f38ded);
  const halves = Array.from({ length: 2 * POOL }, (_, place) => BigInt(spread(pool[place % POOL] ?? 0)));
  return Array.from({ length: POOL }, (_, place) => (halves[2 * place] ?? 0n) | ((halves[2 * place + 1] ?? 0n) << 32n));
}

function hasher(start: number, multiplier: number): (value: number) => number {
  let constant = start;
  return (value) => {
    const mixed = value ^ constant;
    constant = Math.imul(constant, multiplier);
    return folded(Math.imul(mixed, constant));
  };
}

function mixed(one: number, other: number): number {
  return folded(Math.imul(0xca01f9dd, one) - Math.imul(0x4973f715, other));
}

function folded(value: number): number {
  return (value ^ (value >>> 16)) >>> 0;
}
