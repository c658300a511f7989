"""One run of learning: how far it is, and its next step. runs.py saves it and judges its end."""

import time
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.samples import UNLABELLED, OwnAnswers, Samples
from mentee_device.core.learner import Learner
from mentee_device.core.step import LearningError
from mentee_device.runs.clusters import steady_classes
from mentee_device.runs.plans.curves import Curve, value_at
from mentee_device.runs.plans.plan import ResolvedPlan
from mentee_device.runs.replay import AUTO, OWN, Answered
from mentee_device.runs.shift import shifted


@dataclass
class Done:
    """Progress of a run: its `steps`, measured `seconds`, how many samples of the owner it has drawn, and the `round` whose
    guesses it learns from, 0 before the first."""

    steps: int = 0
    seconds: float = 0.0
    samples: int = 0
    round: int = 0


@dataclass(frozen=True)
class Progress:
    """After a step: how far, `fraction` of the run (1 at its end), the step's loss and terms, and the last step on disk."""

    done: Done
    fraction: float
    terms: dict[str, float]
    saved: int


OnProgress = Callable[[Progress], object]


class Run:
    """A plan on its way, on the learner's present parameters. `samples` and `weights` [N] are what the plan names, `replay` is
    the pack under its answers (None: the mentor's, as the bundle has them), `guesses` [N] those of a run that was under way,
    `answers` [N] the mentor's to the owner's samples, as far as it was asked."""

    def __init__(
        self,
        learner: Learner,
        plan: ResolvedPlan,
        samples: Samples,
        weights: NDArray[np.float32],
        done: Done,
        replay: Answered | None = None,
        guesses: NDArray[np.int64] | None = None,
        answers: OwnAnswers | None = None,
    ) -> None:
        self._answers = answers
        self._learner, self.plan, self.samples, self._weights = learner, plan, samples, weights
        self._replay = replay
        self._rows = np.flatnonzero(samples.labels >= 0)
        guessing = plan.rounds > 0 and not plan.once
        self._open = np.flatnonzero(samples.labels < 0) if guessing else self._rows[:0]
        self.guesses = np.full(len(samples), UNLABELLED) if guesses is None else guesses
        self.done = done
        self.first: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self.milliseconds = array("d")
        if not len(self._rows) and not len(self._open):
            raise LearningError("nothing to learn from: none of the run's samples has a label")

    @property
    def fraction(self) -> float:
        """The part of the run that is over, 0 to 1."""
        used = self.plan.budget.used(self.done.steps, self.done.seconds, self.done.samples)
        if self.plan.once:
            used = max(used, self.done.samples / len(self._rows))
        return min(1.0, used)

    def step(self, settings: Mapping[str, Curve]) -> dict[str, float]:
        """Draws a batch and learns from it; knobs of `settings` hold where the plan names none. Raises LearningError."""
        started = time.perf_counter()
        position = self.fraction
        if (round := self._round(position)) > self.done.round:
            self._guess()
            self.done.round = round
        knobs = {name: value_at(curve, position) for name, curve in {**settings, **self.plan.knobs}.items()}
        if self.plan.replay == OWN:
            knobs["beta"] = 0.0
        elif self.plan.replay == AUTO:
            knobs.setdefault("beta", 0.0)
        rows, labels, weights = self._draw()
        answers = None if self._answers is None else self._answers.take(rows)
        pack = self._replay.at(knobs.get("beta", 0.0)) if self._replay else None
        replay = self._learner.draw_replay(self.plan.replay_batch, pack)
        self.last = self._learner.learn_batch(
            Samples(shifted(self.samples.input[rows], self.plan.shift, self._learner), labels),
            replay,
            owner_weight=self.plan.owner_weight,
            weights=weights,
            answers=answers,
            **knobs,
        )
        self.first = self.first or self.last
        self.milliseconds.append(1000 * (time.perf_counter() - started))
        self.done.steps += 1
        self.done.samples += len(rows)
        return self.last

    def _draw(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Row numbers, labels and weights of the owner's part of a batch."""
        plan = self.plan
        if plan.once:
            rows = self._rows[self.done.samples : self.done.samples + plan.batch]
        elif len(self._rows):
            rows = self._learner.draw(self._rows, plan.batch)
        else:
            rows = self._rows
        labels, weights = self.samples.labels[rows], self._weights[rows]
        guessed = self._open[self.guesses[self._open] >= 0]
        if not len(guessed):
            return rows, labels, weights
        more = self._learner.draw(guessed, plan.guessed_batch)
        return (
            np.concatenate([rows, more]),
            np.concatenate([labels, self.guesses[more]]),
            np.concatenate([weights, np.full(len(more), plan.guess_weight, np.float32)]),
        )

    def _round(self, position: float) -> int:
        """The round that the run is in after this share of it; 0 on labels alone."""
        if not len(self._open):
            return 0
        before = 1 if len(self._rows) else 0
        parts = self.plan.rounds + before
        return min(int(position * parts + 1e-9), parts - 1) + 1 - before

    def _guess(self) -> None:
        """Labels the open samples anew, by the learner as it is now; one whose class hangs on the draw gets none."""
        embedding_ND = self._learner.predict(self.samples.input, checked=True).embedding
        class_N = steady_classes(self._learner, embedding_ND, self.samples.labels)
        if class_N is not None:
            self.guesses[self._open] = class_N[self._open]
        elif not len(self._rows):
            raise LearningError(
                "nothing to learn from: no label, and no two classes to group the owner's samples around"
            )

    def describe(self) -> str:
        """The samples it learns from, in words for the log."""
        guessed = f" and {len(self._open)} that have no label" if len(self._open) else ""
        known = 0 if self._answers is None else int(self._answers.known.sum())
        answered = f", the mentor's answers to {known} of them" if known else ""
        return f"{len(self._rows)} labelled samples{guessed}{answered}{self._replay.why if self._replay else ''}"

    def spend(self, seconds: float) -> None:
        """Counts time that passed, saving included, against the budget."""
        self.done.seconds += seconds
