"""Classes by example: one to five samples make a class, without a step of training.

A sample is compared by its embedding, centred on the base's mean and of length 1 (SimpleShot's CL2N, arXiv 1911.04623;
on such vectors nearest by cosine is nearest by L2), then whitened by the spread of samples around their class's mean, and
of length 1 again (whitening.py): directions in which samples of one class differ count for less. Of a class that the bundle
knows, its mean in the bundle stands beside the enrolled samples as if it were one more: much against a single sample, little
against five. That is MAP adaptation of a mean with a relevance factor of 1 (Reynolds, Quatieri, Dunn 2000, section 3.4).
Axes: N samples, D embedding, K the bundle's classes, C all classes (the bundle's, then the new ones), P points.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mentee_device.bundle.samples import SampleError
from mentee_device.prototypes.whitening import length_one, whitening
from mentee_device.state.class_names import CLASS_NAME, is_class_name
from mentee_device.state.storage.database import StateError

MOST_PER_CLASS = 50  # enrolled samples of a class that stay: what bounds memory and the time of a comparison
SHARPNESS = 20.0  # of the softmax over cosines; only how sure an answer sounds depends on it
UNKNOWN = -1
RULE = 2  # changes where embeddings are compared another way: what was stored of them is made anew


@dataclass(frozen=True)
class Recognised:
    """N samples, recognised: `classes` int64, indices of `names` or −1 for "don't know", `probability_NC`, and `similarity`
    float32, the cosine to the nearest point, which the floor is held against."""

    names: tuple[str, ...]
    classes: NDArray[np.int64]
    probability_NC: NDArray[np.float64]
    similarity: NDArray[np.float32]


class Enrolment:
    """The bundle's classes by their mean embedding, and whatever the owner enrols on top. Embeddings of one set of
    parameters only: when the mentee learns, make it anew from the samples. Raises SampleError."""

    def __init__(self, classes: Sequence[str], embedding_ND: NDArray[Any], labels_N: NDArray[np.int64]) -> None:
        """From embeddings of the bundle's labelled replay samples, at least one a class (labels < 0 count for nothing)."""
        embedding_ND = _finite(embedding_ND, None)
        if embedding_ND.shape[0] != len(labels_N):
            raise SampleError(f"{len(embedding_ND)} embeddings but {len(labels_N)} labels: expected one per sample")
        missing = [name for index, name in enumerate(classes) if not (labels_N == index).any()]
        if missing:
            raise SampleError(
                f"no labelled sample of {missing} to start from: expected one of each of the bundle's classes"
            )
        means_KD = np.stack([embedding_ND[labels_N == index].mean(axis=0) for index in range(len(classes))])
        self._centre_D: NDArray[np.float64] = means_KD.mean(axis=0)
        labelled_ND, labels_N = embedding_ND[labels_N >= 0], labels_N[labels_N >= 0]
        self._white_DD = whitening(length_one(labelled_ND - self._centre_D), labels_N)
        unit_ND = self._unit(labelled_ND)
        self._base_KD = np.stack([unit_ND[labels_N == index].mean(axis=0) for index in range(len(classes))])
        self.base_classes = tuple(classes)
        self._samples: dict[str, dict[int, NDArray[np.float32]]] = {}
        self._sums: dict[str, NDArray[np.float64]] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """The bundle's, in its order, then the new ones in order of enrolment."""
        return self.base_classes + tuple(name for name in self._samples if name not in self.base_classes)

    def counts(self) -> dict[str, int]:
        """Enrolled samples by class, enrolled classes only."""
        return {name: len(samples) for name, samples in self._samples.items()}

    def numbers(self) -> set[int]:
        """Ids of all enrolled samples."""
        return {number for samples in self._samples.values() for number in samples}

    def add(self, name: str, embedding_ND: NDArray[Any], ids: Sequence[int]) -> None:
        """Enrols samples of class `name`, of the bundle or new; `ids` name them for `remove`. The mean moves exactly.

        Of a class the newest MOST_PER_CLASS stay. Raises SampleError, and then nothing was enrolled.
        """
        if not is_class_name(name):
            raise SampleError(f"class name {name!r}: expected {CLASS_NAME}")
        unit_ND = self._unit(_finite(embedding_ND, len(self._centre_D))).astype(np.float32)
        if len(ids) != len(unit_ND) or len(set(ids)) != len(ids) or self.numbers() & set(ids):
            raise SampleError(
                f"ids {list(ids)[:5]} for {len(unit_ND)} samples: expected one each, none of them used before"
            )
        if not len(unit_ND):
            raise SampleError(f"no sample to enrol as {name!r}: expected at least one")
        samples = self._samples.setdefault(name, {})
        sums = self._sums.setdefault(name, np.zeros(len(self._centre_D)))
        for number, unit_D in zip(ids, unit_ND, strict=True):
            samples[number] = unit_D
            sums += unit_D
        while len(samples) > MOST_PER_CLASS:
            self.remove(next(iter(samples)))

    def remove(self, number: int) -> None:
        """Removes one sample; without any a class is as before enrolment: its base mean, or gone. Raises SampleError."""
        for name, samples in self._samples.items():
            if number in samples:
                del samples[number]
                if samples:  # a new sum: subtracting would leave dust
                    self._sums[name] = np.sum([*samples.values()], axis=0, dtype=np.float64)
                else:
                    self.remove_class(name)
                return
        raise SampleError(f"no enrolled sample {number}: nothing was removed")

    def remove_class(self, name: str) -> None:
        """Removes every sample of a class. Raises SampleError."""
        if name not in self._samples:
            raise SampleError(
                f"class {name!r} has no enrolled sample, enrolled are {list(self._samples)}: nothing was removed"
            )
        del self._samples[name], self._sums[name]

    def means_CD(self) -> NDArray[np.float64]:
        """Per class the mean of its samples, of length ≤ 1; one of the bundle's classes has its base mean among them."""
        K, D = self._base_KD.shape
        sums_CD = np.concatenate([self._base_KD, np.zeros((len(self.classes) - K, D))])
        counts_C1 = np.ones((len(self.classes), 1))
        counts_C1[K:] = 0
        for index, name in enumerate(self.classes):
            if name in self._samples:
                sums_CD[index] += self._sums[name]
                counts_C1[index] += len(self._samples[name])
        return np.asarray(sums_CD / counts_C1)

    def recognise(
        self,
        embedding_ND: NDArray[Any],
        softmax_NK: NDArray[Any] | None = None,
        *,
        neighbours: int = 0,
        floor: float = -1.0,
        softmax_share: float = 0.3,
    ) -> Recognised:
        """The class of the nearest mean, or with `neighbours` = k > 0 of the k nearest samples and base means, each voting
        with its similarity.

        p(c) = Σ over the class's points of softmax(SHARPNESS · cosine). `softmax_NK`, the mentee's own answer, has a say
        of `softmax_share` on *which* of the bundle's classes it is, none on whether it is one of them or a new one.
        "Don't know" where the nearest point's cosine is below `floor`, −1 to 1. Raises SampleError.
        """
        unit_ND = self._unit(_finite(embedding_ND, len(self._centre_D)))
        if not -1 <= floor <= 1 or not 0 <= softmax_share <= 1 or neighbours < 0:
            raise SampleError(
                f"floor {floor}, softmax_share {softmax_share}, neighbours {neighbours}: expected −1 to 1, 0 to 1 and ≥ 0"
            )
        point_PD, class_P = (
            self._points() if neighbours else (length_one(self.means_CD()), np.arange(len(self.classes)))
        )
        cosine_NP = unit_ND @ point_PD.T
        vote_NP = np.exp(SHARPNESS * (cosine_NP - cosine_NP.max(axis=1, keepdims=True)))
        if 0 < neighbours < len(point_PD):
            behind = np.argsort(-cosine_NP, axis=1, kind="stable")[:, neighbours:]
            np.put_along_axis(vote_NP, behind, 0.0, axis=1)
        votes_NC = vote_NP @ (class_P[:, None] == np.arange(len(self.classes)))
        probability_NC = votes_NC / votes_NC.sum(axis=1, keepdims=True)
        if softmax_NK is not None:
            self._blend(probability_NC, softmax_NK, softmax_share)
        similarity_N = cosine_NP.max(axis=1).astype(np.float32)
        best_N = np.where(similarity_N < floor, UNKNOWN, probability_NC.argmax(axis=1))
        return Recognised(self.classes, best_N, probability_NC, similarity_N)

    def _blend(self, probability_NC: NDArray[np.float64], softmax_NK: NDArray[Any], share: float) -> None:
        K = len(self.base_classes)
        if softmax_NK.shape != (len(probability_NC), K):
            raise SampleError(f"softmax has shape {list(softmax_NK.shape)}, expected {[len(probability_NC), K]}")
        known_N1 = probability_NC[:, :K].sum(axis=1, keepdims=True)
        probability_NC[:, :K] = (1 - share) * probability_NC[:, :K] + share * known_N1 * softmax_NK

    def _points(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        points, belongs = [length_one(self._base_KD)], [*range(len(self._base_KD))]
        for index, name in enumerate(self.classes):
            for unit_D in self._samples.get(name, {}).values():
                points.append(unit_D[None].astype(np.float64))
                belongs.append(index)
        return np.concatenate(points), np.array(belongs)

    def _unit(self, embedding_ND: NDArray[np.float64]) -> NDArray[np.float64]:
        return length_one(length_one(embedding_ND - self._centre_D) @ self._white_DD.T)

    def to_bytes(self) -> bytes:
        """A safetensors file; the same enrolment gives the same bytes."""
        rows = [(name, number, unit_D) for name, samples in self._samples.items() for number, unit_D in samples.items()]
        order = {name: index for index, name in enumerate(self.classes)}
        tensors = {
            "base": self._base_KD,
            "centre": self._centre_D,
            "class": np.array([order[name] for name, _, _ in rows], np.int64),
            "enrolled": np.array([unit_D for _, _, unit_D in rows], np.float32).reshape(len(rows), len(self._centre_D)),
            "white": self._white_DD,
            "ids": np.array([number for _, number, _ in rows], np.int64),
        }
        names = json.dumps({"base": self.base_classes, "all": self.classes})
        return bytes(save(tensors, {"classes": names}))

    @classmethod
    def from_bytes(cls, content: bytes) -> "Enrolment":
        """Reads what `to_bytes` wrote. Raises StateError."""
        try:
            tensors: dict[str, NDArray[Any]] = load(content)
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            names = json.loads(header["__metadata__"]["classes"])
            one = cls.__new__(cls)
            one.base_classes = tuple(names["base"])
            one._base_KD, one._centre_D, one._white_DD = tensors["base"], tensors["centre"], tensors["white"]
            one._samples, one._sums = {}, {}
            for index, number, unit_D in zip(tensors["class"], tensors["ids"], tensors["enrolled"], strict=True):
                one._samples.setdefault(names["all"][index], {})[int(number)] = unit_D
            for name, samples in one._samples.items():
                one._sums[name] = np.sum([*samples.values()], axis=0, dtype=np.float64)
        except (SafetensorError, ValueError, KeyError, TypeError, IndexError) as error:
            raise StateError(f"the enrolment cannot be read ({error}): restore a copy of the state") from error
        return one


def _finite(embedding_ND: NDArray[Any], dimensions: int | None) -> NDArray[np.float64]:
    if embedding_ND.ndim != 2 or (dimensions is not None and embedding_ND.shape[1] != dimensions):
        expected = f"[N, {dimensions}]" if dimensions else "[N, D]"
        raise SampleError(f"embeddings have shape {list(embedding_ND.shape)}, expected {expected}")
    if not np.isfinite(embedding_ND).all():
        raise SampleError("embeddings hold NaN or Inf: expected finite numbers")
    return embedding_ND.astype(np.float64)
