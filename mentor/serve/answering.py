"""Raw samples -> the mentor's answers over the bundle's classes, behind the answer cache. Axes: N samples, K classes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mentor.cache.answers import LOGITS, keys_of, named, packings_of
from mentor.cache.by_content import ByContent, digest_of_sample
from mentor.cache.options import CacheOptions
from mentor.cache.packing import Packed
from mentor.mentor import Mentor
from mentor.serve.served import Served
from mentor_mentee.data.views.augmentation import Augmentation

HALF = CacheOptions(activations="float16")  # as a bundle has them
Answer = dict[str, NDArray[np.generic]]  # "mentor_logits" float32 [N, K], "mentor_<probe>" float16 [N, *probe shape]


@dataclass(frozen=True)
class Answered:
    """The answers to N samples, and for each whether the cache had it."""

    answer: Answer
    known: list[bool]


class Answering:
    """A mentor on its device, and what it said before."""

    def __init__(self, served: Served, mentor: Mentor, folder: Path | None, limit: float) -> None:
        """`folder` None caches in memory; `limit` in bytes."""
        self.served, self.mentor = served, mentor
        self.device = next((value.device for value in mentor.network.state_dict().values()), torch.device("cpu"))
        probe = torch.zeros(1, *served.shape, dtype=getattr(torch, served.dtype), device=self.device)
        self.packings = packings_of(named(mentor.answer(probe)), HALF)
        samples = f"by content {served.dtype} {served.shape}"
        keys = keys_of(mentor, self.packings, Augmentation().identity(), samples)
        self.cache = ByContent(folder, keys, self.packings, limit)

    def answer(self, input: NDArray[np.generic]) -> Answered:
        """`input` [N, *shape] of the bundle's dtype. Samples that are alike, and those of before, are not asked about again."""
        digests = [digest_of_sample(sample) for sample in input]
        first = {digest: i for i, digest in reversed(list(enumerate(digests)))}
        known = dict(zip(first, self.cache.read(list(first)), strict=True))
        missing = [digest for digest, rows in known.items() if rows is None]
        asked_for = set(missing)
        if missing:
            asked = self._ask(input[[first[digest] for digest in missing]])
            self.cache.write(missing, asked)
            for i, digest in enumerate(missing):
                known[digest] = {name: Packed(one.values[i], one.scales[i]) for name, one in asked.items()}
        rows = [known[digest] for digest in digests]
        packed = {
            name: Packed(
                np.stack([row[name].values for row in rows if row is not None]),
                np.stack([row[name].scales for row in rows if row is not None]),
            )
            for name in self.packings
        }
        return Answered(self._unpacked(packed), [digest not in asked_for for digest in digests])

    def _ask(self, input: NDArray[np.generic]) -> dict[str, Packed]:
        answers = named(self.mentor.answer(torch.from_numpy(input).to(self.device)))
        return {name: packing.pack(answers[name]) for name, packing in self.packings.items()}

    def _unpacked(self, packed: dict[str, Packed]) -> Answer:
        found = {name: self.packings[name].unpack(one) for name, one in packed.items()}
        logits = self.served.in_classes(found.pop(LOGITS)).float()
        layers = {f"mentor_{name}": value.half().contiguous().numpy() for name, value in found.items()}
        return {"mentor_logits": logits.contiguous().numpy(), **layers}
