"""Means over seeds, and paired differences: two runs are a pair where only what is compared differs."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distill.report.record import RunRecord
from mentor_mentee.data.views.augmentation import told
from mentor_mentee.errors import UserError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Spread:
    mean: float
    std: float | None  # of the sample (divided by n − 1); None for n = 1
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))

    def shown(self, unit: "Unit") -> str:
        """`98.20 ± 0.31%`."""
        mean = f"{unit.scale * self.mean:.{unit.digits}f}"
        return mean + ("" if self.std is None else f" ± {unit.scale * self.std:.{unit.digits}f}") + unit.sign


@dataclass(frozen=True)
class Difference:
    """Mean of the differences within n pairs, and the interval that holds the true one with 95 % confidence."""

    mean: float
    std: float | None
    low: float | None  # None for n = 1, which says nothing of the spread
    high: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float], controls: Sequence[float]) -> "Difference":
        """values[i] and controls[i] are a pair. mean ± t(0.975; n − 1) · std / √n: Student's paired interval (Biometrika 6,
        1908), which takes the differences to be normal. Confidence 95 %."""
        spread = Spread.of([value - control for value, control in zip(values, controls, strict=True)])
        if spread.std is None:
            return cls(spread.mean, None, None, None, spread.n)
        from scipy.special import stdtrit  # only where runs are compared

        half = float(stdtrit(spread.n - 1, (1 + CONFIDENCE) / 2)) * spread.std / math.sqrt(spread.n)
        return cls(spread.mean, spread.std, spread.mean - half, spread.mean + half, spread.n)

    def shown(self, unit: "Unit") -> str:
        """`+1.20 [+0.31, +2.09]`."""
        numbers = [
            f"{unit.scale * value:+.{unit.digits}f}" for value in (self.mean, self.low, self.high) if value is not None
        ]
        return numbers[0] if len(numbers) == 1 else f"{numbers[0]} [{numbers[1]}, {numbers[2]}]"


@dataclass(frozen=True)
class Unit:
    """The way a score is written."""

    title: str
    scale: float = 100
    digits: int = 2
    sign: str = "%"


UNITS = {
    "accuracy": Unit("accuracy"),
    "top5": Unit("top-5 accuracy"),
    "ece": Unit("ECE"),
    "agreement": Unit("agreement"),
    "kl": Unit("KL, nats", 1, 4, ""),
}


def unit_of(score: str) -> Unit:
    return UNITS.get(score) or Unit(f"CKA {score.removeprefix('cka_')}", 1, 3, "")


@dataclass(frozen=True)
class Scored:
    """A run and what is compared of it."""

    name: str  # where it is, for messages
    record: RunRecord
    scores: Mapping[str, float]


def pairs_by_seed(runs: Sequence[Scored], controls: Sequence[Scored]) -> list[tuple[Scored, Scored]]:
    """Runs of one seed, in the order of the seeds; a seed that only one side has is left out.

    Raises `UserError` where a seed comes twice on a side, where no seed is on both, and for a pair of other labelled
    samples, test samples or steps: images without labels may differ, they are the mentor's to use.
    """
    sides = [by_seed(side) for side in (runs, controls)]
    seeds = sorted(sides[0].keys() & sides[1].keys())
    if not seeds:
        had = [", ".join(map(str, sorted(side))) or "none" for side in sides]
        raise UserError(
            f"no pair: the runs have seeds {had[0]}, those they are compared with {had[1]}; run the same seeds"
        )
    pairs = [(sides[0][seed], sides[1][seed]) for seed in seeds]
    for run, control in pairs:
        require_pair(run, control)
    return pairs


def by_seed(runs: Sequence[Scored]) -> dict[int, Scored]:
    found: dict[int, Scored] = {}
    for run in runs:
        if (other := found.setdefault(run.record.seed, run)) is not run:
            raise UserError(
                f"'{other.name}' and '{run.name}' are both of seed {run.record.seed}; expected one run of a seed: leave one out"
            )
    return found


def require_pair(run: Scored, control: Scored) -> None:
    one, other = run.record, control.record
    differing = []
    if one.labelled != other.labelled:
        counts = f"{one.labelled_samples} and {other.labelled_samples}"
        same = " others" if one.labelled_samples == other.labelled_samples else ""
        differing.append(f"the labelled training samples ({counts}{same})")
    if one.test != other.test:
        differing.append("the test samples")
    if one.steps != other.steps:
        differing.append(f"the steps ({one.steps} and {other.steps})")
    if differing:
        raise UserError(
            f"'{run.name}' and '{control.name}' (seed {one.seed}) are no pair, for {' and '.join(differing)} differ; "
            "expected the same data and steps: run one of them again"
        )


def other_augmentation(runs: Sequence[Scored], controls: Sequence[Scored]) -> str:
    """Says it where both sides saw different augmentation, which a difference between them is then of as well; else empty."""
    seen = [dict.fromkeys(told(one.record.augmentation) for one in side) for side in (runs, controls)]
    if seen[0].keys() == seen[1].keys():
        return ""
    sides = [" or ".join(side) for side in seen]
    return f"augmentation differs: {sides[0]}; of what it is compared with {sides[1]}"


def spreads(runs: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    """Mean and spread of each score that all runs have."""
    return {name: Spread.of([run[name] for run in runs]) for name in common(runs)}


def differences(pairs: Sequence[tuple[Scored, Scored]]) -> dict[str, Difference]:
    """Differences (run − control) of each score that all runs have."""
    names = common([run.scores for pair in pairs for run in pair])
    return {
        name: Difference.of([run.scores[name] for run, _ in pairs], [control.scores[name] for _, control in pairs])
        for name in names
    }


def common(runs: Sequence[Mapping[str, float]]) -> list[str]:
    return [name for name in runs[0] if all(name in run for run in runs)] if runs else []
