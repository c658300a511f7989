"""Answer caches of a student's loaders: the commands' files, under the same keys. Axes: B samples of a batch."""

import hashlib
import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from distill.library.known import WITHOUT, KnownSamples
from distill.library.reading import Reader
from distill.machine import Machine
from distill.schema import CacheConfig
from distill.training.answers import GB, without_room
from mentor.cache import AnswerCache, CacheOptions
from mentor.mentor import Mentor
from mentor_mentee.data.batches import Draws
from mentor_mentee.data.splits import Batch, Split
from mentor_mentee.data.views.augmentation import Augmentation
from mentor_mentee.errors import UserError
from mentor_mentee.sources import imported_sources, source_of

SIMPLE = (bool, int, float, str, bytes, type(None))


class Caching:
    """Caches by the name of a loader, as "train". `of` adds one, `index` says which sample of it each of a batch is."""

    def __init__(self, mentor: Mentor, reader: Reader, folder: Path, config: CacheConfig, machine: Machine) -> None:
        self.mentor, self.reader, self.machine = mentor, reader, machine
        self.folder, self.config = folder / "answers", config
        self.caches: dict[str, AnswerCache] = {}
        self.views: dict[str, int] = {}
        self.known: dict[str, KnownSamples] = {}
        self.data: dict[str, Any] = {}  # that the caches are of

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "data": {}}

    def of(self, loader: Any, name: str, where: str) -> AnswerCache:
        """The cache of a loader's data set, its files reserved: made anew where it was of another data set. Raises `UserError`
        where its answers cannot be cached."""
        data = loader.dataset if isinstance(loader, DataLoader) else loader
        if self.data.get(name) is data and name in self.caches:
            return self.caches[name]
        options, how = CacheOptions(self.config.activations, self.config.verify), Augmentation()
        self.caches.pop(name, None)
        self.known.pop(name, None)
        if isinstance(data, Draws):
            how = data.how
            require_repeated(how, where)
            made = AnswerCache(self.mentor, data.split, how, self.folder, options)
        elif isinstance(data, Split):
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
        self.caches[name], self.data[name], self.views[name] = made, data, views
        return made

    def index(self, name: str, batch: Any, image_BCHW: Tensor, where: str) -> Tensor:
        """int64 [B], as `AnswerCache.answer` takes it. Raises `UserError` for an image that is not among the loader's."""
        if name in self.known:
            return self.known[name].rows(image_BCHW, where)
        return batch.index_B if isinstance(batch, Batch) else torch.full((len(image_BCHW),), -1)


def require_repeated(how: Augmentation, where: str) -> None:
    """Raises `UserError` for views that do not come again."""
    if how.mix.active() or (how.active() and how.views is None):
        does = "mixes samples anew at each step" if how.mix.active() else "makes a new view at each pass"
        what = "without mix" if how.mix.active() else "with views=8, or another number of views,"
        raise UserError(f"cache_dir: {where} {does}; expected an Augmentation {what} {WITHOUT}")


def network_identity(network: nn.Module) -> str:
    """sha256 over all but the weights that answers depend on: the modules' classes, the source of those that are not torch's, and
    their plain attributes, as strides. For a mentor without a recipe."""
    digest = hashlib.sha256()
    if isinstance(network, torch.jit.ScriptModule):
        digest.update(str(network.inlined_graph).encode())
    ours = vars(nn.Module())
    for name, module in network.named_modules():
        options = {key: value for key, value in vars(module).items() if key not in ours}
        digest.update(f"{name} {type(module).__module__}.{type(module).__qualname__} {plain(options)}".encode())
    for kind in dict.fromkeys(type(module) for module in network.modules()):
        if not kind.__module__.startswith("torch."):
            digest.update("\0".join([source_of(kind), *imported_sources(kind)]).encode())
    return digest.hexdigest()


def plain(value: Any) -> Any:
    """The parts of an attribute that print the same in every process; of a function its name."""
    if isinstance(value, SIMPLE):
        return value
    if isinstance(value, dict):
        return [(str(key), plain(one)) for key, one in sorted(value.items(), key=str)]
    if isinstance(value, list | tuple | torch.Size):
        return [plain(one) for one in value]
    if inspect.isfunction(value) or inspect.isbuiltin(value) or inspect.isclass(value):
        return value.__qualname__
    return type(value).__qualname__
