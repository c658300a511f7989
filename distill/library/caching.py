"""Answer caches of a student's loaders: the commands' files, under the same keys. Axes: B samples of a batch."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from distill.library.known import WITHOUT, KnownSamples
from distill.library.looking import untouched_random_state
from distill.library.reading import Reader
from distill.machine import Machine
from distill.schema import CacheConfig
from distill.training.answers import GB, without_room
from mentor.cache import AnswerCache, CacheOptions
from mentor.mentor import Mentor
from mentor_mentee.data.batches import Draws
from mentor_mentee.data.splits import Split
from mentor_mentee.data.views.augmentation import Augmentation
from mentor_mentee.errors import UserError


class Caching:
    """Caches by the name of a loader, as "train". `of` adds one, `index` says which sample of it each of a batch is."""

    def __init__(self, mentor: Mentor, reader: Reader, folder: Path, config: CacheConfig, machine: Machine) -> None:
        self.mentor, self.reader, self.machine = mentor, reader, machine
        self.folder, self.config = folder / "answers", config
        self.caches: dict[str, AnswerCache] = {}
        self.views: dict[str, int] = {}
        self.known: dict[str, KnownSamples] = {}
        self.data: dict[str, tuple[int, int]] = {}  # ids of the data set and the collate_fn that the caches are of
        self.alive: dict[str, Any] = {}  # both, so that no other object gets their ids

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "data": {}, "alive": {}}

    def of(self, loader: Any, name: str, where: str) -> AnswerCache:
        """The cache of a loader's data set, its files reserved: made anew where it was of another data set. Raises `UserError`
        where its answers cannot be cached."""
        data, collate = (loader.dataset, loader.collate_fn) if isinstance(loader, DataLoader) else (loader, None)
        if name in self.caches and self.data.get(name) == (id(data), id(collate)):
            return self.caches[name]
        options, how = CacheOptions(self.config.activations, self.config.verify), Augmentation()
        self.caches.pop(name, None)
        self.known.pop(name, None)
        if isinstance(data, Draws):
            require_repeated(data.how, where)
        if isinstance(data, Draws) and says_which(data, collate):
            how = data.how
            made = AnswerCache(self.mentor, data.split, how, self.folder, options)
        elif isinstance(data, Split) and says_which(data, collate):
            made = AnswerCache(self.mentor, data, None, self.folder, options)
        else:
            known = self.known[name] = KnownSamples(loader, self.reader, where, self.machine)
            made = AnswerCache(self.mentor, Split(known, known.label_N), None, self.folder, options, known.digest)
        views = (how.views or 1) if how.active() else 1
        used = [path for other, cache in self.caches.items() for path in cache.paths(self.views[other])]
        if problem := without_room(made, views, used, self.config):
            raise UserError(
                f"the mentor's answers to {len(made.split):,} samples of {where} take {made.bytes(views) / GB:.3g} GB: "
                f"{problem}; {WITHOUT}"
            )
        self.caches[name], self.views[name] = made, views
        self.data[name], self.alive[name] = (id(data), id(collate)), (data, collate)
        return made

    def index(self, name: str, batch: Any, image_BCHW: Tensor, where: str) -> Tensor:
        """int64 [B], as `AnswerCache.answer` takes it. Raises `UserError` for an image that is not among the loader's."""
        return self.known[name].rows(image_BCHW, where) if name in self.known else batch.index_B


def says_which(data: Draws | Split, collate: Any) -> bool:
    """Whether batches of the project's own data set come from its loader as they are, and so with the samples' places. What
    another `collate_fn` makes of them is known by its pixels."""
    if collate is None:
        return True
    with untouched_random_state():
        batch: Any = data.__getitems__(torch.tensor([0])) if isinstance(data, Split) else data.__getitems__([0])
        return collate(batch) is batch


def require_repeated(how: Augmentation, where: str) -> None:
    """Raises `UserError` for views that do not come again."""
    if how.mix.active() or (how.active() and how.views is None):
        does = "mixes samples anew at each step" if how.mix.active() else "makes a new view at each pass"
        what = "without mix" if how.mix.active() else "with views=8, or another number of views,"
        raise UserError(f"cache_dir: {where} {does}; expected an Augmentation {what} {WITHOUT}")
