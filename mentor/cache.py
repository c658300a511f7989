"""The mentor's answers to a split, asked once: for every sample in each of its views, cached in memory and on disk.

Answers are asked for in one fixed order, a whole view of the split at a time, so what is cached does not depend on which
batches asked for it, and a run that resumes gets the numbers of the run that stopped.
Axes: N samples, B samples of a batch, K classes, V views.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from mentor.mentor import Answers, Mentor
from mentor_mentee.data.splits import Split
from mentor_mentee.data.views.augment import augment
from mentor_mentee.data.views.augmentation import Augmentation
from mentor_mentee.files import write_bytes
from mentor_mentee.progress import Progress

VERSIONS = f"{torch.__version__} {version('torchvision')}"  # torchvision's networks are in no recipe's own module


class AnswerCache:
    """`folder` None caches them in memory only. Give a split whose augmentation has finitely many views, or none."""

    def __init__(
        self,
        mentor: Mentor,
        split: Split,
        how: Augmentation | None = None,
        folder: Path | None = None,
        on_progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.mentor, self.split, self.how, self.folder = mentor, split, how or Augmentation(), folder
        self.on_progress = on_progress
        self.tables: dict[int, Answers] = {}
        self.row_of = torch.full((int(split.positions.max()) + 1,), -1)
        self.row_of[split.positions] = torch.arange(len(split))
        self.key = self._key() if folder is not None else ""

    def answer(self, index_B: Tensor, view_B: Tensor) -> Answers:
        """Looks answers up by position in the source and number of the view; on the device of `index_B`."""
        row_B = self.row_of[index_B.cpu()]
        parts = []
        for view in torch.unique(view_B).tolist():
            picked = torch.nonzero(view_B.cpu() == view).flatten()
            parts.append((picked, self.view(view), row_B[picked]))
        if len(parts) == 1:
            _, table, rows = parts[0]
            found = Answers(table.logits[rows], {name: value[rows] for name, value in table.activations.items()})
        else:
            order = torch.cat([picked for picked, _, _ in parts]).argsort()
            found = Answers(
                torch.cat([table.logits[rows] for _, table, rows in parts])[order],
                {
                    name: torch.cat([table.activations[name][rows] for _, table, rows in parts])[order]
                    for name in parts[0][1].activations
                },
            )
        device = index_B.device
        return Answers(found.logits.to(device), {name: value.to(device) for name, value in found.activations.items()})

    def view(self, number: int) -> Answers:
        """Answers to the whole split, [N, ...], in its order."""
        if number not in self.tables:
            answers = self._load(number)
            if answers is None:
                answers = self._ask(number)
                self._save(number, answers)
            self.tables[number] = answers
        return self.tables[number]

    def fill(self) -> None:
        """Asks for every view now."""
        for number in range((self.how.views or 1) if self.how.active() else 1):
            self.view(number)

    def _ask(self, number: int) -> Answers:
        which = f", view {number + 1} of {self.how.views}" if self.how.active() else ""
        self.on_progress(f"asking the mentor about {len(self.split):,} samples{which}")
        progress = Progress(f"asking the mentor{which}", len(self.split))
        parts = []
        device = next((value.device for value in self.mentor.network.state_dict().values()), torch.device("cpu"))
        for start in range(0, len(self.split), self.mentor.batch):
            index_B = self.split.positions[start : start + self.mentor.batch]
            image_BCHW = self.split.images[start : start + self.mentor.batch]
            view_B = torch.full_like(index_B, number)
            answers = self.mentor.answer(augment(image_BCHW, index_B, view_B, self.how, seed=0).to(device))
            parts.append(Answers(answers.logits.cpu(), {k: v.cpu() for k, v in answers.activations.items()}))
            progress.at(start + len(index_B))
        names = parts[0].activations
        return Answers(
            torch.cat([part.logits for part in parts]),
            {name: torch.cat([part.activations[name] for part in parts]) for name in names},
        )

    def _path(self, number: int) -> Path | None:
        return None if self.folder is None else self.folder / f"{self.key}-{number}.safetensors"

    def _load(self, number: int) -> Answers | None:
        """Reads a view's answers; None for a file that is not there or is damaged: the mentor is then asked again."""
        path = self._path(number)
        try:
            content = load_file(path) if path is not None and path.is_file() else None
        except (SafetensorError, OSError):
            return None
        if content is None or "logits" not in content or len(content["logits"]) != len(self.split):
            return None
        activations = {name.removeprefix("probe."): value for name, value in content.items() if name != "logits"}
        return Answers(content["logits"], activations)

    def _save(self, number: int, answers: Answers) -> None:
        path = self._path(number)
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        activations = {f"probe.{name}": value.contiguous() for name, value in answers.activations.items()}
        write_bytes(path, save({"logits": answers.logits, **activations}))

    def _key(self) -> str:
        """A hash of all that the answers depend on: the mentor, what its probes read, the samples and their views; not labels."""
        digest = hashlib.sha256(f"{self.mentor.fingerprint()} {replace(self.how, views=None)} {VERSIONS}".encode())
        for tensor in (self.split.positions, self.split.images):
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()[:32]


def answer_bytes(mentor: Mentor, split: Split, views: int) -> int:
    """Bytes that `views` cached views of a split take, in float32."""
    answers = mentor.answer(split.images[:1])
    numbers = answers.logits.numel() + sum(value.numel() for value in answers.activations.values())
    return 4 * numbers * len(split) * views
