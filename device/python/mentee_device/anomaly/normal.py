"""Normal samples, observed for a while, and those that deviate from them: distance to stored embeddings, no training.

The score is the distance to the k-th nearest stored embedding (arXiv 2204.06507, without its normalisation: how strong a
signal is may be what is wrong with it). The threshold is a percentile of the same score of every stored embedding, itself
left out, ranked as conformal prediction does, so that about 100 − percentile per cent of new normal samples are flagged.
That holds for samples drawn alike. A stream's neighbours are too alike: observe it with pauses, or over a longer time.
Axes: N samples, M stored ones, D embedding.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mentee_device.bundle.samples import SampleError
from mentee_device.runs.plans.described import described
from mentee_device.runs.plans.given import plain_number, plain_numbers
from mentee_device.state.storage.database import StateError


@dataclass(frozen=True)
class Judged:
    """N samples, judged: `distance` float64, `anomalous` bool (distance > threshold), and the `threshold` of now."""

    distance: NDArray[np.float64]
    anomalous: NDArray[np.bool_]
    threshold: float


@dataclass(frozen=True)
class Watch:
    """Rules of a watch: how long to observe, and what to flag afterwards. Raises SampleError."""

    samples: int | None = described(200, "normal samples to observe; with --seconds, whichever ends first")
    seconds: float | None = described(None, "seconds to observe")
    capacity: int = described(256, "embeddings that are stored at most", most=1_000_000)
    percentile: float = described(99.0, "per cent of normal samples that are not to be flagged")
    neighbours: int = described(1, "the distance is that to the k-th nearest")
    seed: int = described(0, "of the choice of embeddings that are stored", least=0)

    def __post_init__(self) -> None:
        plain_numbers(self, SampleError)
        if self.samples is None and self.seconds is None:
            raise SampleError("a watch needs an end of observing: give samples, seconds or both")
        if (self.samples is not None and self.samples < 2) or (self.seconds is not None and not self.seconds > 0):
            raise SampleError(f"samples {self.samples}, seconds {self.seconds}: expected at least 2 and above 0")
        if not 0 < self.percentile < 100:
            raise SampleError(f"percentile is {self.percentile}, expected between 0 and 100, such as 99")
        if not 1 <= self.neighbours < self.capacity:
            raise SampleError(
                f"neighbours {self.neighbours}, capacity {self.capacity}: expected 1 ≤ neighbours < capacity"
            )


class Normal:
    """Embeddings of what was seen while observing: a uniform random sample of them (reservoir sampling, Vitter 1985,
    algorithm R), not a cover of their extremes: only then are the stored ones to each other what a new one is to them.

    `observing` until the watch's end or `freeze`; `resume` goes on observing. Raises SampleError.
    """

    def __init__(self, watch: Watch, dimensions: int) -> None:
        self.watch = watch
        self.observing = True
        self.seen = 0
        self._stored_MD = np.zeros((0, dimensions), np.float32)
        self._random = np.random.default_rng(watch.seed)
        self._first: float | None = None
        self._last = -np.inf
        self._ends = watch.samples
        self._threshold: float | None = None

    def __len__(self) -> int:
        return len(self._stored_MD)

    def observe(self, embedding_ND: NDArray[Any], now: float | None = None) -> int:
        """Takes normal samples in, and how many of them: fewer than N where the period ends on the way, 0 when frozen.

        `now` in seconds, of any clock that does not go back; needed where the watch has `seconds`. Raises SampleError,
        and then nothing has changed.
        """
        embedding_ND = self._checked(embedding_ND)
        now = plain_number("now", now, float | None, SampleError)
        if now is None and self.watch.seconds is not None:
            raise SampleError(f"this watch ends after {self.watch.seconds} s: say what time it is (now=…)")
        if now is not None and not (np.isfinite(now) and now >= self._last):
            raise SampleError(f"the clock says {now} after {self._last}: expected a time that does not go back")
        if not self.observing:
            return 0
        if now is not None:
            self._last = now
            self._first = now if self._first is None else self._first
            if self.watch.seconds is not None and now - self._first > self.watch.seconds:
                self.observing = False
                return 0
        room = len(embedding_ND) if self._ends is None else min(len(embedding_ND), self._ends - self.seen)
        for embedding_D in embedding_ND[:room]:
            self._take(embedding_D)
        if self._ends is not None and self.seen >= self._ends:
            self.observing = False
        return room

    def _take(self, embedding_D: NDArray[np.float32]) -> None:
        self.seen += 1
        place = len(self)
        if place == self.watch.capacity:
            place = int(self._random.integers(self.seen))
        if place < len(self):
            self._stored_MD[place] = embedding_D
        elif place < self.watch.capacity:
            self._stored_MD = np.concatenate([self._stored_MD, embedding_D[None]])
        else:
            return
        self._threshold = None

    def freeze(self) -> None:
        """Ends observing now."""
        self.observing = False

    def resume(self) -> None:
        """Observes for one more period, on top of what is stored."""
        self.observing = True
        self._first = None
        self._ends = None if self.watch.samples is None else self.seen + self.watch.samples

    @property
    def threshold(self) -> float:
        """The ⌈(M + 1) · percentile / 100⌉-th smallest leave-one-out distance, the largest where M is too small for
        that rank. Raises SampleError where fewer than `neighbours` + 1 are stored."""
        if len(self) <= self.watch.neighbours:
            raise SampleError(
                f"only {len(self)} samples observed, expected more than {self.watch.neighbours}: observe first"
            )
        if self._threshold is None:
            distance_MM = distances(self._stored_MD, self._stored_MD)
            np.fill_diagonal(distance_MM, np.inf)
            own_M = np.sort(np.sort(distance_MM, axis=1)[:, self.watch.neighbours - 1])
            rank = int(np.ceil((len(self) + 1) * self.watch.percentile / 100))
            self._threshold = float(own_M[min(rank, len(self)) - 1])
        return self._threshold

    def judge(self, embedding_ND: NDArray[Any]) -> Judged:
        """Flags what lies further from the stored ones than they do from each other; changes nothing."""
        embedding_ND = self._checked(embedding_ND)
        threshold = self.threshold
        nearest = self.watch.neighbours - 1
        distance_N = np.partition(distances(embedding_ND, self._stored_MD), nearest, axis=1)[:, nearest]
        return Judged(distance_N, distance_N > threshold, threshold)

    def _checked(self, embedding_ND: NDArray[Any]) -> NDArray[np.float32]:
        D = self._stored_MD.shape[1]
        if embedding_ND.ndim != 2 or embedding_ND.shape[1] != D:
            raise SampleError(f"embeddings have shape {list(embedding_ND.shape)}, expected [N, {D}]")
        if not np.isfinite(embedding_ND).all():
            raise SampleError("embeddings hold NaN or Inf: expected finite numbers")
        return embedding_ND.astype(np.float32)

    @property
    def stored_MD(self) -> NDArray[np.float32]:
        """The stored embeddings."""
        return self._stored_MD

    def rest(self) -> dict[str, Any]:
        """All but `stored_MD` that an exact continuation needs, as JSON."""
        return {
            "watch": dict(vars(self.watch)),
            "observing": self.observing,
            "seen": self.seen,
            "first": self._first,
            "last": None if np.isinf(self._last) else self._last,
            "ends": self._ends,
            "random": dict(self._random.bit_generator.state),
        }

    def to_bytes(self) -> bytes:
        """A safetensors file with `stored_MD` and `rest`."""
        return bytes(save({"stored": self._stored_MD}, {"rest": json.dumps(self.rest(), sort_keys=True)}))

    @classmethod
    def from_bytes(cls, content: bytes) -> "Normal":
        """Reads what `to_bytes` wrote. Raises StateError."""
        try:
            stored_MD = load(content)["stored"]
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            return cls.of(json.loads(header["__metadata__"]["rest"]), stored_MD)
        except (SafetensorError, ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
            raise StateError(f"what was observed cannot be read ({error}): restore a copy of the state") from error

    @classmethod
    def of(cls, rest: dict[str, Any], stored_MD: NDArray[np.float32]) -> "Normal":
        """Goes on from `rest` and `stored_MD`. Raises ValueError, KeyError, TypeError for what is none."""
        one = cls(Watch(**rest["watch"]), stored_MD.shape[1])
        one._stored_MD, one.observing, one.seen = stored_MD, rest["observing"], rest["seen"]
        one._first, one._ends = rest["first"], rest["ends"]
        one._last = -np.inf if rest["last"] is None else rest["last"]
        one._random.bit_generator.state = rest["random"]
        return one


def distances(one_ND: NDArray[Any], other_MD: NDArray[Any]) -> NDArray[np.float64]:
    """[N, M], Euclidean, row by row: the formula through a dot product loses the small distances that matter here."""
    other_MD = other_MD.astype(np.float64)
    rows = [np.sqrt(np.square(other_MD - one_D).sum(axis=1)) for one_D in one_ND.astype(np.float64)]
    return np.array(rows).reshape(len(one_ND), len(other_MD))
