"""Two ways to bring learning to another base, and which of them is the better: no state, no files.

Replay learns the owner's samples anew from the new base; a delta adds to the new base what learning had added to the old
one (task arithmetic, arXiv 2212.04089, with a factor of 1). Axes: N samples, K classes.
"""

import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.samples import Samples
from mentee_device.core.learner import Learner
from mentee_device.guard.answers import softmax
from mentee_device.guard.measures import Limits, judge, measure
from mentee_device.runs.holdout import HeldOut
from mentee_device.runs.judgement import right
from mentee_device.runs.plans.plan import ResolvedPlan
from mentee_device.runs.replay import Answered
from mentee_device.runs.run import Done, OnProgress, Progress, Run
from mentee_device.state.about import About
from mentee_device.state.base import Base

Parameters = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Score:
    """Accuracy on the golden set, accuracy and mean cross-entropy on samples of the owner (None where there are none), and
    what the guard has against it."""

    golden: float
    owner: float | None
    loss: float | None
    reasons: tuple[str, ...]

    @property
    def rank(self) -> tuple[float, float]:
        """Higher is better: the mean of both accuracies, then the lower cross-entropy."""
        if self.owner is None or self.loss is None:
            return (round(self.golden, 9), 0.0)
        return (round((self.golden + self.owner) / 2, 9), -self.loss)

    def __str__(self) -> str:
        owner = "" if self.owner is None else f", owner's samples {self.owner:.4f} (cross-entropy {self.loss:.4f})"
        return f"golden {self.golden:.4f}{owner}"


class Judge:
    """Scores mentees of one bundle against its `base`."""

    def __init__(self, base: Learner, limits: Limits) -> None:
        self._golden = base.bundle.golden()
        self._base_NK = base.predict(self._golden.input, checked=True).logits
        self._names, self._limits = base.bundle.manifest.classes, limits

    def score(self, learner: Learner, owner: Samples, before_N: NDArray[np.bool_] | None = None) -> Score:
        """`owner`: labelled samples, already as the graph takes them or raw; may be empty. `before_N`, of samples that nobody has
        learnt from: whether the mentee that stays otherwise is right on each. They are evidence then, as at the end of a run."""
        labels = self._golden.labels
        held = HeldOut.of(np.zeros(0, bool), np.zeros(0, bool))
        if before_N is not None:
            held = HeldOut.of(before_N, right(learner, owner))
        found = measure(learner.predict(self._golden.input, checked=True).logits, labels, self._base_NK)
        base = measure(self._base_NK, labels, self._base_NK)
        reasons = judge(found, base, self._limits, self._names, gained=held.clearly_better)
        if held.clearly_worse:
            reasons.append(f"worse for the owner, beyond chance: {held}")
        if not len(owner):
            return Score(found.accuracy, None, None, tuple(reasons))
        logits_NK = learner.predict(owner.input, checked=True).logits
        probability_N = softmax(logits_NK)[np.arange(len(owner)), owner.labels]
        loss = float(-np.log(np.maximum(probability_N, 1e-12)).mean())
        accuracy = float((logits_NK.argmax(axis=1) == owner.labels).mean())
        return Score(found.accuracy, accuracy, loss, tuple(reasons))


def transferred(
    new: Parameters, new_classes: Sequence[str], head: str, old: Base, personal: Parameters
) -> dict[str, NDArray[np.float32]]:
    """The parameters of `new` that learning moved from `old` to `personal`: new + (personal − old), where name and shape
    agree. Of the classifier `head`, row by row where the class's name agrees; a class the old base has not keeps its row.
    """
    moved = {}
    for name in new.keys() & old.parameters.keys() & personal.keys():
        value = new[name]
        before, after = (_with_axes(one[name], value.ndim) for one in (old.parameters, personal))
        if before.shape != after.shape:
            continue
        heads = name.rpartition(".")[0] == head == old.head
        if heads and len(before) == len(old.classes) and before.shape[1:] == value.shape[1:]:
            rows = [(new_classes.index(one), row) for row, one in enumerate(old.classes) if one in new_classes]
            moved[name] = value.copy()
            for row, old_row in rows:
                moved[name][row] += after[old_row] - before[old_row]
        elif before.shape == value.shape:
            moved[name] = value + (after - before)
    return moved


def _with_axes(array: NDArray[np.float32], axes: int) -> NDArray[np.float32]:
    """Without leading axes of length 1 beyond so many, which one backend has and another not."""
    lead = max(0, array.ndim - axes)
    return array.reshape(array.shape[lead:]) if array.shape[:lead] == (1,) * lead else array


def replay(
    learner: Learner,
    plan: ResolvedPlan,
    samples: Samples,
    weights: NDArray[np.float32],
    knobs: Mapping[str, Any],
    on_progress: OnProgress | None,
    pack: Answered | None,
) -> Done:
    """The run of `plan` from `learner`'s parameters to its end, with the answers of `pack`. Raises LearningError where a step
    blows up."""
    run = Run(learner, plan, samples, weights, Done(), pack)
    while run.fraction < 1:
        started = time.perf_counter()
        terms = run.step(knobs)
        run.spend(time.perf_counter() - started)
        if on_progress is not None:
            on_progress(Progress(run.done, run.fraction, terms, 0))
    learner.end_collecting()
    return run.done


def hold_out(stored: Sequence[About], learned: Collection[int]) -> set[int]:
    """A quarter of each class with at least two samples that the owner labelled, at least one: first those that were never
    learnt from, of these the newest."""
    by_class: dict[int, list[About]] = defaultdict(list)
    for one in stored:
        if one.source == "owner" and one.label >= 0:
            by_class[one.label].append(one)
    held = set()
    for same in by_class.values():
        if len(same) > 1:
            same.sort(key=lambda one: (one.number in learned, -one.number))
            held |= {one.number for one in same[: max(1, len(same) // 4)]}
    return held
