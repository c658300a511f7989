"""Parts samples by the people they are of: the server's, each device's, and those of people whom none has."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mentee_device import Samples

LEARN = 0.6  # of a person's samples; the rest judges


@dataclass(frozen=True)
class People:
    """`server`: the server's samples; `learn` and `test` of each device's person; `everybody`: what judges the one mentee."""

    server: Samples
    learn: list[Samples]
    test: list[Samples]
    everybody: Samples


@dataclass(frozen=True)
class Source:
    """`people(root, seed)` draws who is where from the data at `root`; `mentor` and `mentee`: recipes of the networks."""

    people: Callable[[Path, int], People]
    mentor: Mapping[str, Any]
    mentee: Mapping[str, Any]
