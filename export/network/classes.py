"""A mentee for another list of classes than the one it was distilled for.

A class that both lists have keeps its row of the head. A new one starts with weights of 0 and the lowest of the kept biases,
so that no sample looks like it before it is learned; one that is left out is dropped with its samples. Spare classes are new ones
that the owner names on the device.
Axes: N samples, K classes before, J after.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from export.network.fold import replace as replace_module
from mentor_mentee.data.splits import Split
from mentor_mentee.errors import UserError, did_you_mean

LEAST_MARGIN = 10.0  # of a new class's logit below the lowest; a mentor that is unsure of all would else be of it, too
LARGEST_HALF = 65504.0
SPARE = "spare"  # a class that has no name yet is called so, with a number


@dataclass(frozen=True)
class ClassPlan:
    """`rows`: for each class after, its place before, or None for a new one. The last `spare` of them are nobody's yet."""

    before: tuple[str, ...]
    after: tuple[str, ...]
    rows: tuple[int | None, ...]
    spare: int = 0

    @classmethod
    def asked(cls, before: Sequence[str], after: Sequence[str] | None, spare: int) -> "ClassPlan | None":
        """That of the settings `classes` and `spare_classes`; None where they change nothing. Raises `UserError`."""
        if not spare:
            return None if after is None else cls.between(before, after)
        named = tuple(before if after is None else after)
        spares = tuple(f"{SPARE} {number}" for number in range(1, spare + 1))
        if taken := sorted({*spares} & {*named, *before}):
            raise UserError(f"a class is called {taken[0]!r}, as spare_classes={spare} calls one; rename it")
        return replace(cls.between(before, named + spares), spare=spare)

    @classmethod
    def between(cls, before: Sequence[str], after: Sequence[str]) -> "ClassPlan":
        """Raises `UserError` for a list with nothing to keep, or with nothing to change."""
        if tuple(before) == tuple(after):
            raise UserError(f"classes={list(after)} is the checkpoint's own list; leave classes out, or change it")
        rows = tuple(before.index(name) if name in before else None for name in after)
        if all(row is None for row in rows):
            raise UserError(
                f"classes={list(after)} has none of the checkpoint's classes {list(before)}{did_you_mean(after[0], before)}; "
                "keep at least one: without any there are neither replay nor golden samples"
            )
        return cls(tuple(before), tuple(after), rows)

    @property
    def kept(self) -> list[str]:
        return [name for name in self.after if name in self.before]

    @property
    def new(self) -> list[str]:
        return [name for name in self.after[: len(self.after) - self.spare] if name not in self.before]

    @property
    def spares(self) -> list[str]:
        return list(self.after[len(self.after) - self.spare :])

    @property
    def untaught(self) -> list[int]:
        """Labels, in the new list, that no sample can have yet."""
        return [place for place, row in enumerate(self.rows) if row is None]

    @property
    def dropped(self) -> list[str]:
        return [name for name in self.before if name not in self.after]

    @property
    def changes(self) -> dict[str, list[str]]:
        """Kept, new and dropped names; empty where there are spare classes besides and nothing else."""
        if self.before == self.after[: len(self.after) - self.spare]:
            return {}
        return {"kept": self.kept, "new": self.new, "dropped": self.dropped}

    def labels(self, labels_N: Tensor) -> Tensor:
        """Places in the new list; −1 stays −1. No label may be of a dropped class."""
        places = torch.tensor([self.after.index(name) if name in self.after else -2 for name in self.before] + [-1])
        return places[labels_N]

    def split(self, split: Split) -> Split:
        """Drops the samples that are labelled as a dropped class; the other labels become places in the new list."""
        dropped = torch.tensor([self.before.index(name) for name in self.dropped], dtype=torch.int64)
        left = split.subset(torch.nonzero(~torch.isin(split.labels, dropped)).flatten())
        return left.relabelled(self.labels(left.labels))

    def unheld(self, whole: Split, budget: Split) -> Split:
        """`whole` without what `budget` labels as a dropped class; other samples of it nobody has labelled."""
        held = budget.positions[budget.labels >= 0]
        gone = held[~torch.isin(held, self.split(budget).positions)]
        return whole.subset(torch.nonzero(~torch.isin(whole.positions, gone)).flatten())

    def logits(self, logits_NK: Tensor) -> Tensor:
        """[N, J]: a new class as far below the lowest kept one as the highest is above it, at least 10; in half's range."""
        kept = torch.tensor([row for row in self.rows if row is not None])
        known = logits_NK.float()[:, kept]
        lowest, highest = known.amin(1, keepdim=True), known.amax(1, keepdim=True)
        below = (lowest - (highest - lowest).clamp(min=LEAST_MARGIN)).clamp(min=-LARGEST_HALF)
        columns = [below if row is None else logits_NK.float()[:, row : row + 1] for row in self.rows]
        return torch.cat(columns, 1).to(logits_NK.dtype)

    def head(self, network: nn.Module, path: str) -> None:
        """Replaces, in place, the linear layer at `path` by one for the new list. Raises `UserError` for another layer."""
        old = network.get_submodule(path)
        if not isinstance(old, nn.Linear) or old.out_features != len(self.before):
            raise UserError(
                f"classes: the head '{path}' is {old}; expected an nn.Linear with one output for each of the {len(self.before)} "
                "classes, whose rows can be kept"
            )
        head = nn.Linear(old.in_features, len(self.after), bias=old.bias is not None)
        kept = [row for row in self.rows if row is not None]
        with torch.no_grad():
            for place, row in enumerate(self.rows):
                head.weight[place] = 0.0 if row is None else old.weight[row]
                if old.bias is not None:
                    head.bias[place] = old.bias[kept].min() if row is None else old.bias[row]
        head.weight.requires_grad_(old.weight.requires_grad)
        if old.bias is not None:
            head.bias.requires_grad_(old.bias.requires_grad)
        replace_module(network, path, head.train(old.training))
