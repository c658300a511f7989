"""Stored answers of a mentor to the views of a split's samples, so that each is asked about once: in this run and in others.

Only what is compared is cached, in the space that a probe compares in. Each probe's numbers and the logits are files of
their own, found again by every run that asks the same mentor about the same views, whatever else it compares. Axes: N
samples of the split, B samples of a batch.
"""

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mentor.cache.options import CacheOptions
from mentor.cache.packing import Packed, Packing
from mentor.cache.table import Table
from mentor.mentor import Answers, Mentor
from mentor_mentee.data.splits import Split
from mentor_mentee.data.store.images import contents
from mentor_mentee.data.views.augmentation import Augmentation
from mentor_mentee.data.views.drawn import Views
from mentor_mentee.progress import Progress, remark

VERSIONS = (
    f"{torch.__version__} {version('torchvision')} rows 2"  # torchvision's networks are in no recipe's own module
)
LOGITS = "logits"
FEW = 256  # classes whose logits are cached as they are
TOGETHER = 64  # samples asked about at once, always as many: the last bits of an answer depend on the size of its batch
TOLERANCE = 2.0  # of a recomputed answer, in what packing may change
FAR = 0.03  # of a sample's largest number: more than another device or its half precision makes of one network


class AnswerCache:
    """`folder` None caches them in memory only. Give a split whose augmentation has finitely many views, or none."""

    def __init__(
        self,
        mentor: Mentor,
        split: Split,
        how: Augmentation | None = None,
        folder: Path | None = None,
        options: CacheOptions = CacheOptions(),  # noqa: B008 (frozen)
        samples: str = "",
    ) -> None:
        """`samples`: `digest_of` the split, where it is known already."""
        self.mentor, self.split, self.folder = mentor, split, folder
        self.draw = Views(how or Augmentation(), seed=0)
        self.options, self.samples = options, samples
        self.row_of = np.full(int(split.positions.max()) + 1, -1)
        self.row_of[split.positions.numpy()] = np.arange(len(split))
        self._first = self._answers_to_first()
        self.packings = packings_of(self._first, options)
        self.views: dict[int, dict[str, Table]] = {}
        self._known: dict[int, NDArray[np.bool_]] = {}  # by view: rows that all tables were found to have
        self.keys = self._keys() if folder is not None else dict.fromkeys(self.packings, "")
        self._compared: set[tuple[int, int]] = set()
        self._held = False  # whether the first sample's cached answers were compared with the mentor's

    def __getstate__(self) -> dict[str, Any]:
        """For other processes, which open the files themselves and fill them together."""
        return {**vars(self), "views": {}, "_known": {}}

    def answer(self, index_B: Tensor, view_B: Tensor, image_BCHW: Tensor | None = None) -> Answers:
        """Answers to samples by their position in the source and the number of the view, on the device of `index_B`.
        `image_BCHW`: those views, where they are at hand."""
        row_B, views = self.row_of.take(index_B.cpu().numpy()), view_B.tolist()
        if views.count(views[0]) == len(views):
            packed = self._of_view(views[0], row_B, image_BCHW)
        else:
            packed = {name: packing.empty(len(row_B)) for name, packing in self.packings.items()}
            for view in sorted(set(views)):
                picked_B = np.flatnonzero(np.array(views) == view)
                images = None if image_BCHW is None else image_BCHW[picked_B]
                for name, part in self._of_view(view, row_B[picked_B], images).items():
                    packed[name].values[picked_B], packed[name].scales[picked_B] = part
        found = {name: self.packings[name].unpack(one).to(index_B.device) for name, one in packed.items()}
        none = torch.empty(len(row_B), 0, device=index_B.device)
        return Answers(found.pop(LOGITS, none), found)

    def logits(self) -> Tensor:
        """Those of the whole split as it is, [N, K], in its order."""
        progress, parts = Progress("asking the mentor", len(self.split)), list[Tensor]()
        for rows in np.array_split(np.arange(len(self.split)), -(-len(self.split) // (4 * TOGETHER))):
            parts.append(self.packings[LOGITS].unpack(self._of_view(0, rows, None)[LOGITS]))
            progress.at(int(rows[-1]) + 1)
        return torch.cat(parts)

    def paths(self, views: int) -> list[Path]:
        """The files of that many views, in `folder`."""
        assert self.folder is not None
        return [self.folder / f"{key}-{view}.safetensors" for view in range(views) for key in self.keys.values()]

    def bytes(self, views: int) -> int:
        """That they take."""
        return sum(packing.bytes + 4 for packing in self.packings.values()) * len(self.split) * views

    def reserve(self, views: int) -> None:
        """Makes the files, or raises `OSError`: a full disk must not be met in the middle of a run."""
        for view in range(views):
            self._tables(view)

    def _of_view(self, view: int, row_B: NDArray[np.int64], image_BCHW: Tensor | None) -> dict[str, Packed]:
        try:
            tables = self._tables(view)
        except OSError as error:  # another run removed the file since, and the disk is full
            return self._uncached(view, row_B, image_BCHW, error)
        held = view > 0 or self._held
        there_B = self._there(view, tables, row_B) if held else self._there_and_the_mentors(tables, row_B)
        if self.options.verify and there_B.any():
            there_B &= self._verified(view, row_B, there_B, image_BCHW)
        if not there_B.all():
            missing = np.flatnonzero(~there_B)
            asked, first = np.unique(row_B[missing], return_index=True)
            answers = self._ask(view, asked, None if image_BCHW is None else image_BCHW[missing[first]])
            for name, table in tables.items():
                table.write(asked, table.packing.pack(answers[name]))
        return {name: table.read(row_B) for name, table in tables.items()}

    def _there(self, view: int, tables: dict[str, Table], row_B: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Rows of which every table has an answer."""
        known_N = self._known.setdefault(view, np.zeros(len(self.split), bool))
        there_B = known_N.take(row_B)
        if not there_B.all():
            damaged = sum(table.damaged for table in tables.values())
            there_B = np.logical_and.reduce([table.has(row_B) for table in tables.values()])
            known_N[row_B] = there_B
            if damage := sum(table.damaged for table in tables.values()) - damaged:
                remark(f"{damage:,} cached answers in {self.folder} are damaged: the mentor is asked again")
        return there_B

    def _there_and_the_mentors(self, tables: dict[str, Table], row_B: NDArray[np.int64]) -> NDArray[np.bool_]:
        """As `_there` of view 0; none, where the first sample's cached answer is far from what the mentor said of it when this
        cache was opened: an edit that no key knows of, or another's file."""
        self._held = True
        there_B = self._there(0, tables, np.append(0, row_B))
        row = np.zeros(1, np.int64)
        if there_B[0]:
            wrong = [
                name
                for name, table in tables.items()
                if not alike(table.packing.unpack(table.read(row)), self._first[name].cpu(), table.packing, FAR)
            ]
            if wrong:
                self._forget(0, wrong)
                return np.zeros(len(row_B), bool)
        return there_B[1:]

    def _forget(self, view: int, wrong: list[str]) -> None:
        for name in wrong:
            self._tables(view)[name].forget()
        self._known.pop(view, None)
        remark(
            f"cached answers in {self.folder} are not what the mentor says now ({', '.join(wrong)}): all of that view are asked "
            "for again"
        )

    def _uncached(
        self, view: int, row_B: NDArray[np.int64], image_BCHW: Tensor | None, error: OSError
    ) -> dict[str, Packed]:
        """The mentor's answers as they would be cached."""
        remark(
            f"the mentor's answers cannot be cached in {self.folder} ({error.strerror or error}): it is asked again at each step"
        )
        answers = self._ask(view, row_B, image_BCHW)
        return {name: packing.pack(answers[name]) for name, packing in self.packings.items()}

    def _ask(self, view: int, row_B: NDArray[np.int64], image_BCHW: Tensor | None) -> dict[str, Tensor]:
        """The mentor itself."""
        if image_BCHW is None:
            batch = self.split.__getitems__(torch.from_numpy(row_B))
            view_B = torch.full_like(batch.index_B, view)
            image_BCHW = self.draw(batch.image_BCHW, batch.index_B, view_B)
        device = next((value.device for value in self.mentor.network.state_dict().values()), torch.device("cpu"))
        together, parts = min(TOGETHER, self.mentor.batch), []
        for part in torch.split(image_BCHW, together):
            filled = torch.cat([part, part[-1:].expand(together - len(part), *part.shape[1:])])
            answers = self.mentor.answer(filled.to(device))
            parts.append({name: value[: len(part)].cpu() for name, value in named(answers).items()})
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _verified(
        self, view: int, row_B: NDArray[np.int64], there_B: NDArray[np.bool_], image_BCHW: Tensor | None
    ) -> NDArray[np.bool_]:
        """False for all rows of a view in which the mentor says another thing now than what is cached of a sample of them."""
        drawn = drawn_rows(self.split, row_B, view, self.options.verify) & there_B
        rows = np.array(
            [i for i in np.flatnonzero(drawn) if (view, int(row_B[i])) not in self._compared], dtype=np.int64
        )
        if len(rows):
            picked = row_B[rows]
            self._compared.update((view, int(row)) for row in picked)
            answers = self._ask(view, picked, None if image_BCHW is None else image_BCHW[rows])
            wrong = [
                name
                for name, table in self._tables(view).items()
                if not alike(table.packing.unpack(table.read(picked)), answers[name], table.packing)
            ]
            if wrong:
                self._forget(view, wrong)
                return np.zeros(len(row_B), bool)
        return np.ones(len(row_B), bool)

    def _answers_to_first(self) -> dict[str, Tensor]:
        """The mentor's to view 0 of the first sample."""
        image_BCHW, position_B = self.split.images[:1], self.split.positions[:1]
        return named(self.mentor.answer(self.draw(image_BCHW, position_B, torch.zeros_like(position_B))))

    def _tables(self, view: int) -> dict[str, Table]:
        if view not in self.views:
            self.views[view] = {
                name: Table(
                    packing,
                    len(self.split),
                    None if self.folder is None else self.folder / f"{self.keys[name]}-{view}.safetensors",
                    f"view {view} of {self.keys[name]}",
                )
                for name, packing in self.packings.items()
            }
        return self.views[view]

    def _keys(self) -> dict[str, str]:
        views = self.draw.how.identity() + self.draw.digest(self.split.images, self.split.positions)
        return keys_of(self.mentor, self.packings, views, self.samples or digest_of(self.split))


def cached_logits(mentor: Mentor, split: Split, folder: Path | None) -> Tensor:
    """[N, K] of a split as it is, asked once for each mentor and split; again without a folder, and where it cannot be
    written."""
    cache = AnswerCache(mentor, split, folder=folder)
    try:
        cache.reserve(1)
    except OSError as error:
        remark(f"the mentor's answers cannot be cached in {folder} ({error.strerror or error})")
        cache = AnswerCache(mentor, split)
    return cache.logits()


def named(answers: Answers) -> dict[str, Tensor]:
    return {LOGITS: answers.logits, **answers.activations} if answers.logits.shape[1] else answers.activations


def keys_of(mentor: Mentor, packings: dict[str, Packing], views: str, samples: str) -> dict[str, str]:
    """By what is cached, a hash of all that it depends on: the mentor, the probe, the samples and their views; not labels."""
    shared = f"{mentor.fingerprint(probes=False)} {views} {VERSIONS} {samples}"
    asked = {LOGITS: "logits"} | {
        probe.name: f"{probe.mentor} {probe.adapter.mentors_side()}" for probe in mentor.probes
    }
    return {
        name: hashlib.sha256(f"{shared} {asked[name]} {packing}".encode()).hexdigest()[:32]
        for name, packing in packings.items()
    }


def packings_of(answers: dict[str, Tensor], options: CacheOptions) -> dict[str, Packing]:
    few = LOGITS in answers and answers[LOGITS].shape[1] <= FEW
    precisions = {LOGITS: "float32" if few else "float16"}
    return {
        name: Packing(tuple(value.shape[1:]), precisions.get(name, options.activations))
        for name, value in answers.items()
    }


def digest_of(split: Split) -> str:
    digest = hashlib.sha256(split.positions.numpy().tobytes())
    digest.update(contents(split.images))
    return digest.hexdigest()


def drawn_rows(split: Split, row_B: NDArray[np.int64], view: int, share: float) -> NDArray[np.bool_]:
    """A share of the samples, always the same."""
    drawn = [hashlib.sha256(f"{position} {view}".encode()).digest()[:4] for position in split.positions[row_B].tolist()]
    return np.array([int.from_bytes(value, "little") < share * 2**32 for value in drawn])


def alike(cached: Tensor, asked: Tensor, packing: Packing, rounding: float = 1e-4) -> bool:
    """Whether they differ by no more than packing, and `rounding` of a sample's largest number (by default the last bits of a
    batch of another size), explain."""
    unpacked = packing.unpack(packing.pack(asked))
    largest = asked.abs().flatten(1).amax(1).view(-1, *(1,) * (asked.dim() - 1))
    off = TOLERANCE * (unpacked - asked).abs().amax() + rounding * largest
    return bool(((cached - asked).abs() <= off).all() or not asked.isfinite().all())
