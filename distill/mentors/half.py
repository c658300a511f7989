"""Decides under `mentor.precision=auto` whether a mentor answers in bfloat16: where a CPU is much faster in it, and its answers
are as good to learn from (docs/experiments/mentor-precision.md)."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch

from distill.machine import Machine, place
from distill.mentors.pairs import some_images
from distill.schema import MentorConfig
from mentor.harm import Harm, joined, timed
from mentor.mentor import Mentor
from mentor.precisions import AUTO, BF16, FULL
from mentor_mentee.data.splits import Split
from mentor_mentee.files import locked, write_json

WORTH = 1e10  # training samples × weights, below which a CPU answers about all of them within seconds
FASTER = 0.8  # of the time in float32, at most
TRIED = 256  # training samples
TOGETHER = 64
HARMLESS = Harm(classes=0.02, worst=0.25, mean=0.02, layer=0.05)


@dataclass(frozen=True)
class Decision:
    precision: str
    why: str


def decided(config: MentorConfig, exact: Mentor, train: Split, machine: Machine, cache_dir: Path) -> str:
    """The precision of its answers, one of PRECISIONS. What was found is kept in `cache_dir` by the mentor's fingerprint, so that
    every run under it finds the same cached answers."""
    if config.precision != AUTO:
        return config.precision
    weights = sum(value.numel() for value in exact.network.parameters())
    if config.shard or place() is not None or not on_cpu(machine) or len(train) * weights < WORTH:
        return FULL
    kept = cache_dir / "precisions" / f"{exact.fingerprint()[:32]}.json"
    try:
        decision = read(kept)
        if decision is None:
            with locked(kept.with_suffix(".lock"), lambda: None):
                decision = read(kept) or tried(exact, train)
                write_json(kept, asdict(decision))
    except OSError:  # the next run would try again, and might find another
        return FULL
    if decision.precision != FULL:
        machine.say(f"mentor: answers in {decision.precision}: {decision.why} (mentor.precision=32-true: in float32)")
    return decision.precision


def harmed(exact: Mentor, half: Mentor, train: Split) -> str | None:
    """The harm to the layers at the probes of both, in words; None where there is none."""
    images = some_images(train, min(TOGETHER, exact.batch))
    reference = exact.answer(images)
    try:
        return HARMLESS.of(reference, half.answer(images))
    except Exception as error:  # whatever a network of the user's raises
        return failure(error)


def tried(exact: Mentor, train: Split) -> Decision:
    references, founds, ratios = [], [], []
    try:
        half = Mentor(exact.network, exact.view, identity=exact.identity, precision=BF16)
    except Exception as error:  # one that cannot be copied
        return Decision(FULL, f"bf16 {failure(error)}")
    for images in torch.split(some_images(train, TRIED), min(TOGETHER, exact.batch)):
        seconds, reference = timed(exact, images)
        try:
            half_seconds, found = timed(half, images)
        except Exception as error:  # a layer that half precision does not suit, in whatever way
            return Decision(FULL, f"bf16 {failure(error)}")
        references.append(reference)
        founds.append(found)
        ratios.append(half_seconds / seconds)
    if (why := HARMLESS.of(joined(references), joined(founds))) is not None:
        return Decision(FULL, f"bf16 {why}")
    ratio = median(ratios[1:] or ratios)  # without the first call, which is slow in its own ways
    if ratio > FASTER:
        return Decision(FULL, f"bf16 takes {ratio:.2f} of the time")
    return Decision(BF16, f"{ratio:.2f} of the time, and as good to learn from")


def failure(error: Exception) -> str:
    return f"fails: {' '.join(str(error).split())[:200] or type(error).__name__}"


def read(kept: Path) -> Decision | None:
    """None where it is not there, or is not what `tried` finds: it is then found anew."""
    try:
        found = json.loads(kept.read_bytes())
        precision, why = found["precision"], found["why"]
    except (FileNotFoundError, ValueError, TypeError, KeyError, RecursionError):
        return None
    if precision not in (FULL, BF16) or not isinstance(why, str) or not why.isprintable():
        return None
    return Decision(precision, why)


def on_cpu(machine: Machine) -> bool:
    return machine.accelerator == "cpu" or (machine.accelerator == "auto" and not torch.accelerator.is_available())
