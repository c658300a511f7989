"""Makes what draws from the global generators a function of three numbers: torchvision's transforms have no seed of their own."""

# ruff: noqa: NPY002 (the legacy generator is what a user's transform may draw from)

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def replayed() -> Iterator[Callable[[int, int, int], None]]:
    """Yields `seed(seed, index, view)`, which sets the generators of torch (of the CPU), Python and numpy. At the end they are as
    they were. On one thread: shared out among several, images as small as these take up to 200 times as long.
    """
    states, threads = (torch.get_rng_state(), random.getstate(), np.random.get_state()), torch.get_num_threads()
    if threads > 1:
        torch.set_num_threads(1)
    try:
        yield seed_all
    finally:
        if threads > 1:
            torch.set_num_threads(threads)
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])


def seed_all(seed: int, index: int, view: int) -> None:
    key = int.from_bytes(hashlib.blake2b(f"{seed} {index} {view}".encode(), digest_size=8).digest(), "little")
    torch.default_generator.manual_seed(key)  # torch.manual_seed seeds every device too, which takes 200 times as long
    random.seed(key)
    np.random.seed(key & 0xFFFFFFFF)
