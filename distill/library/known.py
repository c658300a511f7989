"""Samples of a map-style data set, known again in any batch by their pixels: no loader says which sample it yields.

Axes: N samples of the data set, B samples of a batch.
"""

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, default_collate

from distill.library.looking import PART, batch_of, of_items, sized, untouched_random_state
from distill.library.reading import Reader
from distill.machine import Machine
from mentor_mentee.data.reading.items import LOOKED_AT
from mentor_mentee.data.store.block import DIGEST, sample_digest
from mentor_mentee.errors import UserError
from mentor_mentee.progress import Progress

WITHOUT = "or leave cache_dir out: the mentor is then asked at each step"


class KnownSamples:
    """Images of a data set as its loader and `reader` make them, `mentor_mentee.data.store.images.Images`; read where they are
    asked for. `digest` is that of a split in memory of the same images: commands and scripts find each other's answers."""

    ndim = 4

    def __init__(self, loader: Any, reader: Reader, where: str, machine: Machine) -> None:
        """Reads every sample once, by the loader's workers. Raises `UserError` for a stream, and where a sample differs when it
        is read again."""
        self.data, collate = loader, default_collate
        if isinstance(loader, DataLoader):
            self.data, collate = loader.dataset, loader.collate_fn
        require_indexed(loader, self.data, where)
        self.reader, self.where = reader, where
        self.collate = partial(of_items, collate=collate)
        self.dtype = getattr(torch, reader.view.dtype)
        digest_N, digest = self._looked_through(loader, machine)
        self.shape = torch.Size([len(digest_N), *reader.shape])
        self.digest = digest
        self.label_N = torch.full((len(digest_N),), -1)  # a mentor is asked about images alone
        self.sorted_N, self.row_N = np.unique(digest_N, return_index=True)
        self._require_same(digest_N)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: Any) -> Tensor:
        picked = torch.arange(len(self))[rows].tolist()
        with untouched_random_state():
            return self.reader(batch_of(self.data, picked, self.collate), self.where)[0]

    def rows(self, image_BCHW: Tensor, where: str) -> Tensor:
        """Rows of source images, int64 [B]; of equal ones the first. Raises `UserError` for an image that is none of them."""
        digest_B = digests_of(image_BCHW)
        at_B = np.searchsorted(self.sorted_N, digest_B).clip(max=len(self.sorted_N) - 1)
        if (unknown_B := self.sorted_N[at_B] != digest_B).any():
            raise UserError(
                f"{where} has {int(unknown_B.sum())} of {len(digest_B)} images that {self.where} did not have when all of its "
                f"{len(self):,} were read for cache_dir; expected the same images: leave random transforms and mixing "
                f"out, {WITHOUT}"
            )
        return torch.from_numpy(self.row_N[at_B])

    def _looked_through(self, loader: Any, machine: Machine) -> tuple[np.ndarray, str]:
        """A digest of each sample's pixels, and that of all."""
        made: dict[str, Any] = {"generator": torch.Generator()}  # global random states stay as they are
        if isinstance(loader, DataLoader) and loader.num_workers:
            made |= {"num_workers": loader.num_workers, "multiprocessing_context": loader.multiprocessing_context}
            made["worker_init_fn"] = loader.worker_init_fn
        progress = Progress(f"reading {self.where} for cache_dir", len(self.data), say=machine.say)
        digest = hashlib.sha256(torch.arange(len(self.data)).numpy().tobytes())
        found: list[np.ndarray] = []
        with untouched_random_state():
            for batch in DataLoader(self.data, PART, collate_fn=self.collate, **made):
                image_BCHW, _ = self.reader(batch, self.where)
                digest.update(image_BCHW.contiguous().numpy().data)
                found.append(digests_of(image_BCHW))
                progress.at(len(found) * PART)
        return np.concatenate(found), digest.hexdigest()

    def _require_same(self, digest_N: np.ndarray) -> None:
        for row in sorted({i * (len(self) - 1) // (LOOKED_AT - 1) for i in range(LOOKED_AT)}):
            if digests_of(self[[row]])[0] != digest_N[row]:
                raise UserError(
                    f"sample {row} of {self.where} differs when it is read again, so that no answer to it can be cached; "
                    f"expected the same image at the same index: leave random transforms out, {WITHOUT}"
                )


def require_indexed(loader: Any, data: Any, where: str) -> None:
    batches = isinstance(loader, DataLoader) and loader.batch_sampler is None
    if isinstance(data, IterableDataset) or not sized(data) or not hasattr(data, "__getitem__") or batches:
        kind = "yields whole batches (batch_size=None)" if batches else f"is a {type(data).__name__}, without indices"
        raise UserError(
            f"cache_dir: {where} {kind}; expected a map-style data set (__len__ and __getitem__), whose samples can be read "
            f"again: make it one, {WITHOUT}"
        )


def digests_of(image_BCHW: Tensor) -> np.ndarray:
    """Digests of each image's pixels, [B] bytes."""
    digests: Sequence[bytes] = [sample_digest(image) for image in image_BCHW.cpu().contiguous().numpy()]
    return np.array(digests, f"S{DIGEST}")
