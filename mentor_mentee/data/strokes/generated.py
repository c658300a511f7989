"""`data=strokes`: drawings of shapes, digits and letters by hands of which each is in one split only. Nothing to fetch."""

from collections.abc import Sequence

import numpy as np
import torch

from mentor_mentee.data.reading.names import Owners, listed_names
from mentor_mentee.data.splits import Split, Splits
from mentor_mentee.data.strokes.drawing import drawn
from mentor_mentee.data.strokes.glyphs import DEFAULT, GLYPHS
from mentor_mentee.data.strokes.hands import Hand, hand
from mentor_mentee.errors import UserError, did_you_mean


def strokes(
    classes: Owners | None = None,
    held_out: Owners | None = None,
    samples: int = 100,
    val: int = 20,
    test: int = 20,
    hands: int = 80,
    seed: int = 0,
) -> Splits:
    """Pen strokes, generated, 1x28x28: 70 shapes, the digits and the letters. Nothing to fetch.

    - `classes`: names of what is drawn, as [heart,star,7]; null: all but O and X, which look as a circle and a cross do
    - `held_out`: names that are left out of them, to be new to the mentee later
    - `samples`: training samples of each class
    - `val`: samples of each class to validate on
    - `test`: samples of each class to test on
    - `hands`: people who draw, a tenth of them for val and a tenth for test; nobody is in two splits
    - `seed`: of the hands and of their drawings
    """
    names = chosen(classes, held_out)
    sizes = {"train": samples, "val": val, "test": test}
    for option, count in (("samples", samples), ("val", val), ("test", test)):
        if count < 1:
            raise UserError(f"data.{option}={count}; expected 1 or more samples of each class")
    if hands < 10:
        raise UserError(f"data.hands={hands}; expected 10 or more, a tenth of whom validate and a tenth of whom test")
    if seed < 0:
        raise UserError(f"data.seed={seed}; expected 0 or more")
    people = [hand(number, seed) for number in range(hands)]
    tenth = hands // 10
    shared = {"train": people[2 * tenth :], "val": people[:tenth], "test": people[tenth : 2 * tenth]}
    who = tuple(str(number) for number in range(hands))
    parts = [drawings(names, shared[one], sizes[one], who, seed, 1 + i) for i, one in enumerate(sizes)]
    return Splits(parts[0], parts[1], parts[2], names, "strokes")


def chosen(classes: Owners | None, held_out: Owners | None) -> tuple[str, ...]:
    """Names of `classes` without those of `held_out`. Raises `UserError` for an unknown one, and for fewer than two."""
    wanted = tuple(listed_names(classes, "data.classes")) if classes is not None else DEFAULT
    without = listed_names(held_out, "data.held_out")
    for option, given in (("classes", wanted), ("held_out", without)):
        for name in given:
            if name not in GLYPHS:
                raise UserError(f"data.{option}: nothing is drawn as {name!r}{did_you_mean(name, GLYPHS)}: {listing()}")
    if twice := sorted({name for name in wanted if wanted.count(name) > 1}):
        raise UserError(f"data.classes names {', '.join(twice)} more than once; name each class once")
    names = tuple(name for name in wanted if name not in without)
    if len(names) < 2:
        raise UserError(f"data.classes less data.held_out leave {list(names)}; expected two classes or more")
    return names


def listing() -> str:
    return f"known are {', '.join(GLYPHS)}"


def drawings(names: Sequence[str], people: Sequence[Hand], size: int, who: tuple[str, ...], *seed: int) -> Split:
    """`size` drawings of each of `names`, evenly by `people`; labels are places in `names`."""
    each = -(-size // len(people))
    images, owners = [], []
    for place, name in enumerate(names):
        everything = drawn(name, people, each, *seed).reshape(len(people), each, 28, 28)
        turns = everything.swapaxes(0, 1).reshape(-1, 1, 28, 28)  # everybody's first, then everybody's second
        # where they do not come out even, another class has other people's more
        first = place * 7 % len(people) if size % len(people) else 0
        rows = (first + np.arange(size)) % len(turns)
        images.append(turns[rows])
        owners.append(np.array([one.number for one in people])[rows % len(people)])
    return Split(
        torch.from_numpy(np.concatenate(images)),
        torch.arange(len(names)).repeat_interleave(size),
        owners=torch.from_numpy(np.concatenate(owners)),
        owner_names=who,
    )
