"""Settings of the device's optimizer: its numbers, its groups of parameters, its learning rate over the steps.

Imports neither torch nor onnx, so that a typo is answered at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from mentor_mentee.errors import UserError, did_you_mean
from mentor_mentee.settings import setting

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("constant", "cosine", "step")
RUNTIME_RATE = 1e-3  # what ONNX Runtime feeds until a client sets another


@dataclass
class Schedule:
    """A factor on the learning rate; k = steps taken before this one, from 0, of which `warm_up` grow it linearly to 1.

    constant  1
    cosine    final + (1 − final) · (1 + cos π·t) / 2, t from 0 at k = warm_up to 1 at k = steps and after (arXiv 1608.03983)
    step      factor^⌊(k − warm_up) / every⌋
    """

    name: str = setting("constant", "the learning rate over the steps: constant, cosine or step")
    warm_up: int = setting(0, "first steps, over which the rate rises linearly from 0")
    steps: int = setting(0, "cosine: the step at which the rate has come down, warm-up included")
    final: float = setting(0.0, "cosine: the factor on the rate at the end, from 0 to 1")
    every: int = setting(0, "step: the number of steps between two falls of the rate")
    factor: float = setting(0.1, "step: what the rate is multiplied by at each fall")

    def at(self, k: int) -> float:
        """The factor of the step that `k` steps were taken before."""
        rise = min(1.0, (k + 1) / self.warm_up) if self.warm_up else 1.0
        after = max(k - self.warm_up, 0)
        if self.name == "cosine":
            t = min(after / (self.steps - self.warm_up), 1.0)
            return rise * (self.final + (1 - self.final) * (1 + math.cos(math.pi * t)) / 2)
        if self.name == "step":
            return float(rise * self.factor ** (after // self.every))
        return rise


@dataclass
class Group:
    """Parameters whose name `match` matches (a glob, as `*.bias`) and no group before it did."""

    match: str = setting(
        "???", "glob on parameters' names, as '*.bias'; the first group that matches takes a parameter"
    )
    learning_rate: float = setting(1.0, "factor on optimizer.learning_rate")
    weight_decay: float | None = setting(None, "weight decay of this group; null: optimizer.weight_decay")


@dataclass
class Optimizer:
    """torch.optim.AdamW's or torch.optim.SGD's own update; by default AdamW with torch's numbers.

    `betas` and `epsilon` are AdamW's, `momentum` and `nesterov` SGD's. `weight_decay` is each one's own kind: AdamW shrinks the
    parameter, SGD adds to its gradient. `clip_norm` bounds the 2-norm of all gradients together before that. One step is
    taken after `accumulate` batches, on the mean of their gradients.
    """

    name: str = setting("adamw", "adamw or sgd, each as torch.optim's")
    learning_rate: float = setting(1e-3, "learning rate on the device, before the schedule's factor")
    betas: list[float] = setting([0.9, 0.999], "adamw: decay of the two moments")
    epsilon: float = setting(1e-8, "adamw: added to the root of the second moment")
    weight_decay: float = setting(0.01, "adamw: shrinks the parameter; sgd: is added to the gradient")
    momentum: float = setting(0.0, "sgd: momentum")
    nesterov: bool = setting(False, "sgd: Nesterov's momentum")
    groups: list[Group] = setting([], "parameters with a learning rate or weight decay of their own")
    clip_norm: float | None = setting(None, "bound on the 2-norm of all gradients together; null: none")
    accumulate: int = setting(1, "batches whose mean gradient makes one step")
    schedule: Schedule = setting(Schedule, "the learning rate over the steps")

    @property
    def rate_scale(self) -> float:
        """Factor in the graph on the rate that it is fed: the web build can feed no other rate than its own."""
        return self.learning_rate / RUNTIME_RATE


@dataclass(frozen=True)
class Members:
    """One group as it applies: names, factor on the learning rate, weight decay."""

    names: tuple[str, ...]
    factor: float
    weight_decay: float


def assign(optimizer: Optimizer, names: Sequence[str]) -> list[Members]:
    """The groups over trainable parameters `names`, in order; those of no group come last, if there are any.

    Raises `UserError` where a group gets no parameter, which is a slip in its glob or in the order of the groups.
    """
    left = list(names)
    members = []
    for group in optimizer.groups:
        taken = tuple(name for name in left if fnmatchcase(name, group.match))
        if not taken:
            raise UserError(
                f"optimizer.groups: match='{group.match}' gets no trainable parameter: none is left after the groups before it "
                f"that it matches, of {', '.join(left[:4]) or 'none at all'}{' …' if len(left) > 4 else ''}"
            )
        decay = optimizer.weight_decay if group.weight_decay is None else group.weight_decay
        members.append(Members(taken, group.learning_rate, decay))
        left = [name for name in left if name not in taken]
    return members + ([Members(tuple(left), 1.0, optimizer.weight_decay)] if left else [])


def check_optimizer(optimizer: Optimizer) -> None:
    """Raises `UserError` for a name that is none and a number that cannot be meant."""
    _require_known("optimizer.name", optimizer.name, OPTIMIZERS)
    _require("learning_rate", optimizer.learning_rate, 0 < optimizer.learning_rate < math.inf, "above 0")
    _require("epsilon", optimizer.epsilon, 0 < optimizer.epsilon < 1, "above 0 and below 1")
    _require("weight_decay", optimizer.weight_decay, 0 <= optimizer.weight_decay < math.inf, "at least 0")
    betas = optimizer.betas
    _require("betas", betas, len(betas) == 2 and all(0 <= b < 1 for b in betas), "two numbers from 0 to below 1")
    _require("momentum", optimizer.momentum, 0 <= optimizer.momentum < 1, "from 0 to below 1")
    _require("accumulate", optimizer.accumulate, optimizer.accumulate >= 1, "1 or more batches a step")
    clip = optimizer.clip_norm
    _require("clip_norm", clip, clip is None or 0 < clip < math.inf, "above 0, or null for none")
    if optimizer.name == "adamw" and (optimizer.momentum or optimizer.nesterov):
        raise UserError(
            "optimizer.momentum and optimizer.nesterov are SGD's; AdamW has betas, or choose optimizer.name=sgd"
        )
    if optimizer.nesterov and not optimizer.momentum:
        raise UserError("optimizer.nesterov=true needs a momentum; set optimizer.momentum=0.9")
    for number, group in enumerate(optimizer.groups):
        rate, decay = group.learning_rate, group.weight_decay
        _require(f"groups[{number}].learning_rate", rate, 0 < rate < math.inf, "a factor above 0")
        _require(f"groups[{number}].weight_decay", decay, decay is None or 0 <= decay < math.inf, "at least 0, or null")
    check_schedule(optimizer.schedule)


def check_schedule(schedule: Schedule) -> None:
    _require_known("optimizer.schedule.name", schedule.name, SCHEDULES)
    _require("schedule.warm_up", schedule.warm_up, schedule.warm_up >= 0, "0 or more steps")
    if schedule.name == "cosine":
        longer = schedule.steps > schedule.warm_up
        _require(
            "schedule.steps", schedule.steps, longer, f"more than the {schedule.warm_up} of warm_up, which count in"
        )
        _require("schedule.final", schedule.final, 0 <= schedule.final <= 1, "a factor from 0 to 1")
    if schedule.name == "step":
        _require("schedule.every", schedule.every, schedule.every >= 1, "1 or more steps")
        _require("schedule.factor", schedule.factor, 0 < schedule.factor <= 1, "above 0 and at most 1")


def _require_known(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise UserError(f"{what}={name}{did_you_mean(name, known)}; expected one of {', '.join(known)}")


def _require(what: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise UserError(f"optimizer.{what}={value}; expected {expected}")
