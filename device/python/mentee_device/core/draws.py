"""The draws of numpy's default generator, number for number, without `numpy.random`, whose import takes 3 MB of a phone's
memory and OpenSSL's 3.6 with it.

The generator is PCG64 (O'Neill 2014, PCG XSL RR 128/64), its seeding `numpy.random.SeedSequence`, bounded numbers Lemire's
(arXiv 1805.10941); a state is written as `numpy.random.PCG64.state` is, so that either continues what the other began.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

BITS_32, BITS_64, BITS_128 = (1 << 32) - 1, (1 << 64) - 1, (1 << 128) - 1
MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645
POOL = 4  # words of 32 bits that a seed is mixed into
LARGE, TAIL = 10_000, 50  # above so many rows, and more than one in 50 drawn, numpy shuffles all of them


class Draws:
    """`seed`: a whole number ≥ 0."""

    def __init__(self, seed: int = 0) -> None:
        words = seed_words(seed)
        self._increment = (words[2] << 65 | words[3] << 1 | 1) & BITS_128
        self._state = 0
        self._half, self._halves = 0, 0  # upper half of the last number; 1 while it is left for the next draw
        self._step()
        self._state = (self._state + (words[0] << 64 | words[1])) & BITS_128
        self._step()

    @property
    def state(self) -> dict[str, Any]:
        """What an exact continuation needs; JSON can hold it."""
        return {
            "bit_generator": "PCG64",
            "state": {"state": self._state, "inc": self._increment},
            "has_uint32": self._halves,
            "uinteger": self._half,
        }

    @state.setter
    def state(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError for what is no such state; nothing has changed then."""
        try:
            name, whole, increment = state["bit_generator"], state["state"]["state"], state["state"]["inc"]
            half, halves = state["uinteger"], state["has_uint32"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"no state of PCG64: {error!r}") from error
        limits = [(whole, BITS_128), (increment, BITS_128), (half, BITS_32), (halves, 1)]
        if name != "PCG64" or not all(isinstance(n, int) and 0 <= n <= most for n, most in limits):
            raise ValueError(f"no state of PCG64: {name!r} with numbers that are missing or out of range")
        self._state, self._increment, self._half, self._halves = whole, increment, half, halves

    def integer(self, end: int) -> int:
        """Uniform in [0, `end`), `end` between 1 and 2³², as `Generator.integers(end)`."""
        if end == 1:
            return 0
        product = self._word() * end
        if (product & BITS_32) < end:
            unfair = (1 << 32) % end
            while (product & BITS_32) < unfair:
                product = self._word() * end
        return product >> 32

    def sample(self, rows: NDArray[np.int64], size: int) -> NDArray[np.int64]:
        """[size] of `rows` [N] without replacement, in random order, as `Generator.choice(rows, size, replace=False)`."""
        N = len(rows)
        if size > N:
            raise ValueError(f"{size} of {N} rows, without replacement")
        if N > LARGE and size > N // TAIL:
            order = list(range(N))
            self._shuffle(order, max(N - size, 1))
            return rows[order[N - size :]]
        drawn: dict[int, None] = {}  # Floyd's algorithm (Bentley and Floyd 1987); a dict keeps the order
        for last in range(N - size, N):
            number = self.integer(last + 1)
            drawn[last if number in drawn else number] = None
        order = list(drawn)
        self._shuffle(order, 1)
        return rows[order]

    def _shuffle(self, values: list[int], first: int) -> None:
        for place in range(len(values) - 1, first - 1, -1):
            other = self.integer(place + 1)
            values[place], values[other] = values[other], values[place]

    def _word(self) -> int:
        """32 bits: the lower half of a number, then its upper half."""
        if self._halves:
            self._halves = 0
            return self._half
        self._step()
        turn, mixed = self._state >> 122, (self._state >> 64) ^ (self._state & BITS_64)
        number = (mixed >> turn | mixed << (64 - turn)) & BITS_64
        self._half, self._halves = number >> 32, 1
        return number & BITS_32

    def _step(self) -> None:
        self._state = (self._state * MULTIPLIER + self._increment) & BITS_128


def seed_words(seed: int) -> list[int]:
    """Four words of 64 bits, as `SeedSequence(seed).generate_state(4, uint64)`. Raises ValueError below 0."""
    if seed < 0:
        raise ValueError(f"seed {seed}, expected a whole number from 0 on")
    seed = int(seed)
    entropy = [seed >> shift & BITS_32 for shift in range(0, max(seed.bit_length(), 1), 32)]
    hashed = _Hash(0x43B0D7E5, 0x931E8875)
    pool = [hashed(entropy[i] if i < len(entropy) else 0) for i in range(POOL)]
    for source in range(POOL):
        for target in range(POOL):
            if source != target:
                pool[target] = _mix(pool[target], hashed(pool[source]))
    for word in entropy[POOL:]:
        for target in range(POOL):
            pool[target] = _mix(pool[target], hashed(word))
    hashed = _Hash(0x8B51F9DD, 0x58F38DED)
    halves = [hashed(pool[i % POOL]) for i in range(8)]
    return [halves[i] | halves[i + 1] << 32 for i in range(0, 8, 2)]


class _Hash:
    def __init__(self, constant: int, multiplier: int) -> None:
        self.constant, self.multiplier = constant, multiplier

    def __call__(self, word: int) -> int:
        word ^= self.constant
        self.constant = self.constant * self.multiplier & BITS_32
        word = word * self.constant & BITS_32
        return word ^ word >> 16


def _mix(one: int, other: int) -> int:
    mixed = (one * 0xCA01F9DD - other * 0x4973F715) & BITS_32
    return mixed ^ mixed >> 16
