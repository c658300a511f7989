"""The mentee in memory: predict, learn under the mentor's recorded answers, judge. `Owner` stores what it learns.

Axes: N samples, B of one batch, K classes, D embedding.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.archive import Bundle
from mentee_device.bundle.fields import fits_float32
from mentee_device.bundle.parts import RATE_RANGE
from mentee_device.bundle.samples import OwnAnswers, SampleError, Samples, Supervision, check_labels, preprocess
from mentee_device.bundle.scale import clear, require_array
from mentee_device.core.backends import choose
from mentee_device.core.backends.backend import Backend
from mentee_device.core.batch import mixed, unanswered
from mentee_device.core.microbatch import EVALUATION_BATCH
from mentee_device.core.opening import require_tried
from mentee_device.core.snapshot import Snapshot
from mentee_device.core.step import LearningError, take_step

OnStep = Callable[[int, int, dict[str, float]], None]
MOST_THREADS = 256  # more only wait for each other: with 300 on two cores a first opening took minutes


def check_learning_rate(value: float) -> None:
    """Raises LearningError for one that float32 or an optimizer cannot take."""
    least, most = RATE_RANGE
    if not fits_float32(value) or not least <= value <= most:
        raise LearningError(f"learning rate {repr(value)[:70]} is no number from {least:g} to {most:g}")


def _checked_threads(threads: int) -> int:
    """A number that a pool of threads can be made of. Raises LearningError."""
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MOST_THREADS:
        raise LearningError(f"threads is {repr(threads)[:70]}, expected a whole number from 1 to {MOST_THREADS}")
    return threads


@dataclass(frozen=True)
class Prediction:
    """`logits` [N, K] and `embedding` [N, D], what the classifier reads; both float32."""

    logits: NDArray[np.float32]
    embedding: NDArray[np.float32]


@dataclass(frozen=True)
class Learned:
    """Figures of one `Learner.learn`: the terms of its first and last batch, and milliseconds per step."""

    first: dict[str, float]
    last: dict[str, float]
    milliseconds: list[float]


class Learner:
    """A bundle's mentee, at its base until it learns or is given a snapshot.

    The same `threads` and `backend` give the same bits. `backend` is "ort-training" or "stock", by default the first of them that
    the bundle has and this Python has the runtime of. The first learner of a bundle on a device tries it in a process of its own
    (core/opening.py). Raises BundleError, RuntimeMissing.
    """

    def __init__(self, bundle: Bundle, threads: int = 1, backend: str | None = None) -> None:
        self.bundle = bundle
        self._manifest = bundle.manifest
        self.threads = _checked_threads(threads)
        self.backend = choose.chosen(bundle.manifest, backend)
        require_tried(bundle, threads, self.backend)
        self._supervision: Supervision | None = None
        self.step = 0
        self._random = np.random.default_rng(0)
        self._session: Backend
        self._broken: str | None = None  # the parameter that a step left not finite
        self.reset()

    @property
    def learning_rate(self) -> float:
        """AdamW's step size, float32; part of a snapshot."""
        return self._session.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        check_learning_rate(value)
        self._session.learning_rate = value

    @property
    def supervision(self) -> Supervision:
        """The bundle's replay samples, read on first use."""
        if self._supervision is None:
            self._supervision = self.bundle.supervision()
        return self._supervision

    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """Copies of the trainable parameters by name; frozen ones are constants of the graphs."""
        return self._session.parameters()

    def set_parameters(self, values: Mapping[str, NDArray[np.float32]]) -> None:
        """Other values for the parameters named; moments and step stay. Raises KeyError, ValueError for a misfit or NaN."""
        for name, value in values.items():
            if not np.isfinite(value).all():
                raise ValueError(f"{name} holds NaN or Inf: expected finite numbers")
        self._session.set_parameters(values)

    def export_inference(self, path: str | os.PathLike[str]) -> None:
        """Writes inference.onnx as it would be now, for any ONNX Runtime: `input` to `logits` and `embedding`, with the
        current parameters and running statistics. The file is as personal as they are. Raises LearningError."""
        target = Path(path)
        try:
            self._session.export_inference(target)
        except OSError as error:
            raise LearningError(f"{target} cannot be written ({error}): choose another place") from error

    def predict(self, input: NDArray[Any], *, checked: bool = False) -> Prediction:
        """`input` [N, C, H, W] as `preprocess` takes it, under the current parameters. `checked`: its scale was looked at when it
        was stored, as a whole. Raises SampleError, and LearningError where a step left a parameter that is not finite."""
        self._require_finite()
        input = input if checked else clear(input, self._manifest)
        logits_NK, embedding_ND = [], []
        for start in range(0, len(input) if input.ndim else 1, EVALUATION_BATCH):
            outputs = self._session.forward(unanswered(self._manifest, input[start : start + EVALUATION_BATCH]))
            if not np.isfinite(outputs["logits"]).all():
                raise LearningError(
                    "the parameters have grown so far that logits are not finite: reset the mentee or restore a snapshot, and "
                    "lower the learning rate"
                )
            logits_NK.append(outputs["logits"])
            embedding_ND.append(outputs["embedding"])
        if not logits_NK:
            raise SampleError("input holds no sample: expected at least one")
        return Prediction(np.concatenate(logits_NK), np.concatenate(embedding_ND))

    def evaluate(self, input: NDArray[Any], labels: NDArray[Any]) -> float:
        """The share, 0 to 1, of samples whose highest logit is their label's. Raises SampleError."""
        return self._share_right(input, labels, checked=False)

    def _share_right(self, input: NDArray[Any], labels: NDArray[Any], checked: bool) -> float:
        require_array("input", input)
        labels_N = check_labels(labels, len(input), self._manifest, unlabelled=False)
        return float(np.mean(self.predict(input, checked=checked).logits.argmax(axis=1) == labels_N))

    def evaluate_golden(self) -> float:
        """`evaluate` on the bundle's golden set, the samples that the guard judges by."""
        golden = self.bundle.golden()
        return self._share_right(golden.input, golden.labels, checked=True)

    def learn_batch(
        self,
        samples: Samples,
        replay: Supervision | None = None,
        *,
        owner_weight: float = 1.0,
        weights: NDArray[np.float32] | None = None,
        answers: OwnAnswers | None = None,
        alpha: float | None = None,
        beta: float | None = None,
        gamma: float | None = None,
        temperature: float | None = None,
    ) -> dict[str, float]:
        """One step of the bundle's optimizer on the owner's `samples` and `replay` together; loss and its terms before it, by
        default ce, rmse_<probe> and kl.

        The label term is the weighted mean over all labelled samples, an owner's weighing `owner_weight` times a
        replayed one, times its `weights` [B] where given; the mentor's terms are means over `replay` and those of the owner's
        samples that have `answers`. A knob left out is
        the bundle's default. Raises SampleError, and LearningError when no term has a sample or the loss or a gradient is
        not finite.
        """
        knobs = {"alpha": alpha, "beta": beta, "gamma": gamma, "temperature": temperature}
        given = {name: value for name, value in knobs.items() if value is not None}
        self._require_finite()
        whole = mixed(self._manifest, samples, replay, owner_weight, given, weights, answers)
        if not whole.labelled.any() and not whole.supervised.any():  # AdamW would still decay the weights
            raise LearningError("nothing to learn from: no sample of the batch has a label or a mentor's answer")
        values = len(whole.input) * self._manifest.smallest_map
        if values == 1:
            raise LearningError(
                "a batch of one sample: this bundle's BatchNorm uses the statistics of the batch, and one value a channel has "
                "no variance; learn from at least two samples at a time, replayed ones included"
            )
        try:
            terms = take_step(self._session, self._manifest, whole, self.step)
        except RuntimeError:
            self._broken = self._session.not_finite()
            raise
        self.step += 1
        self._broken = self._session.not_finite()
        self._require_finite()
        return terms

    def _require_finite(self) -> None:
        if self._broken is not None:
            raise LearningError(
                f"step {self.step} left parameter {self._broken!r} with NaN or Inf, so the mentee can neither answer nor learn: "
                "reset it or restore a snapshot, and lower the learning rate"
            )

    def learn(
        self,
        samples: Samples,
        steps: int,
        batch: int = 8,
        replay_batch: int = 16,
        seed: int | None = None,
        on_progress: OnStep | None = None,
        *,
        owner_weight: float = 4.0,
        **knobs: Any,
    ) -> Learned:
        """`steps` calls of `learn_batch`, each on `batch` of the owner's labelled samples and `replay_batch` replayed.

        Every batch is drawn without replacement, smaller where there are fewer samples; unlabelled ones of the owner
        carry no term and are not drawn. `seed` restarts the random state, None continues it, so that 10 steps, a
        snapshot, and 10 more equal 20. `on_progress(done, steps, terms)` after each.
        """
        if steps < 1 or batch < 1 or replay_batch < 0:
            raise SampleError(f"steps {steps}, batch {batch}, replay batch {replay_batch}: expected ≥ 1, ≥ 1 and ≥ 0")
        require_array("input", samples.input)
        labels_N = check_labels(samples.labels, len(samples.input), self._manifest, unlabelled=True)
        clear(samples.input, self._manifest)
        preprocess(samples.input, self._manifest)  # a bad sample must be refused before the first step, not at its draw
        labelled = np.flatnonzero(labels_N >= 0)
        if seed is not None:
            self.seed(seed)
        terms: list[dict[str, float]] = []
        milliseconds: list[float] = []
        for done in range(1, steps + 1):
            start = time.perf_counter()
            rows = self.draw(labelled, batch)
            replay = self.draw_replay(replay_batch)
            terms = [*terms[:1], self.learn_batch(samples.take(rows), replay, owner_weight=owner_weight, **knobs)]
            milliseconds.append(1000 * (time.perf_counter() - start))
            if on_progress is not None:
                on_progress(done, steps, terms[-1])
        return Learned(terms[0], terms[-1], milliseconds)

    def seed(self, seed: int) -> None:
        """Restarts the random state that batches are drawn with."""
        self._random = np.random.default_rng(seed)

    def draw(self, rows: NDArray[np.int64], batch: int) -> NDArray[np.int64]:
        """`batch` of `rows` without replacement, all of them where there are fewer."""
        return self._random.choice(rows, min(batch, len(rows)), replace=False)

    def draw_whole(self, end: int, count: int) -> NDArray[np.int64]:
        """`count` whole numbers of 0 to `end` - 1, each as likely."""
        return self._random.integers(end, size=count)

    def draw_replay(self, batch: int, pack: Supervision | None = None) -> Supervision | None:
        """`batch` samples of `pack`, by default the bundle's supervision, drawn likewise; None for 0."""
        if not batch:
            return None
        pack = self.supervision if pack is None else pack
        return pack.take(self.draw(np.arange(len(pack)), batch))

    @property
    def collecting(self) -> bool:
        """Whether the bundle accumulates gradients and some wait for the rest of their step: they are in no snapshot."""
        return self._session.collecting

    def end_collecting(self) -> None:
        """Takes the step that gradients wait for, with those there are."""
        self._session.end_collecting()

    def snapshot(self) -> Snapshot:
        """All that an exact resume needs, unless `collecting`. Raises LearningError where neither memory nor the temporary folder
        takes a checkpoint."""
        random: dict[str, Any] = dict(self._random.bit_generator.state)
        try:
            checkpoint = self._session.dump()
        except (OSError, RuntimeError) as error:
            raise LearningError(
                f"the checkpoint cannot be written ({error}): is there memory, and space in the temporary folder?"
            ) from error
        return Snapshot(self._manifest.id, self.step, self.learning_rate, random, checkpoint)

    def restore(self, snapshot: Snapshot) -> None:
        """Parameters, moments, learning rate, step and random state as they were, of whichever backend. Raises BundleError,
        LearningError."""
        random = np.random.default_rng(0)
        try:
            random.bit_generator.state = snapshot.random
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise LearningError(f"the snapshot's random state cannot be continued ({error!r})") from error
        self._session = choose.resumed(self.bundle, self.threads, self.backend, snapshot.checkpoint)
        self._session.learning_rate = snapshot.learning_rate
        self._broken = None
        self._random = random
        self.step = snapshot.step

    def reset(self) -> None:
        """Back to the bundle's own parameters, learning rate, step 0 and seed 0."""
        self._session = choose.opened(self.bundle, self.threads, self.backend)
        self._session.learning_rate = self._manifest.learning_rate
        self._broken = None
        self._random = np.random.default_rng(0)
        self.step = 0

    def close(self) -> None:
        """Releases the runtime's memory and the samples; the bundle stays as it is."""
        del self._session
        self._supervision = None

    def __enter__(self) -> "Learner":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
