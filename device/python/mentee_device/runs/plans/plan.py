"""One run of learning as it is asked for, with a default for everything, and with everything decided, as a version stores it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, get_args

from mentee_device.bundle.inputs import KNOBS
from mentee_device.core.learner import check_learning_rate
from mentee_device.core.step import LearningError
from mentee_device.runs.holdout import held_out
from mentee_device.runs.plans.budget import Budget
from mentee_device.runs.plans.curves import Curve, check_curve, highest
from mentee_device.runs.plans.described import described
from mentee_device.runs.plans.given import plain, plain_number
from mentee_device.runs.plans.settings import Settings
from mentee_device.runs.replay import AUTO, MENTOR, OWN, REPLAYS
from mentee_device.state.about import About, sample_numbers

FLOAT32_END = 3.4e38  # what a graph takes
STEPS = 240  # by default: 40 on the labels, then in each of 5 rounds as many on labels and guesses


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run of learning: what it draws, how it weighs that, and how long it lasts.

    Each step draws `batch` labelled samples of the owner and `replay_batch` of the bundle's, which carry the answers of
    `replay`: "own" (the base's logits; β is 0 then), "mentor" or "auto" (replay.py; β is 0 then unless it is set, and the
    mentor answers in every step where it is above 0). Samples without a label are guessed in `rounds`: 1/(rounds + 1) of the
    run goes on the labels alone, then before each round the clusters that the mentee sees now (clusters.py) label them anew,
    and a step draws `guessed_batch` of them as well. Where there is no label the rounds are all. The share `holdout` of the
    owner's labels is not learnt from: it shows what the run brought, and the guard hears it (holdout.py).

    Everything is copied, and numpy's numbers become Python's. Raises LearningError for what makes no sense, SampleError for
    samples that are no numbers; the settings and the sample store have their say in `resolved`.
    """

    samples: Sequence[int] | None = described(None, "numbers of the samples to draw (none: all)")
    budget: Budget | None = described(None, "bounds of the run (none: see Budget)")
    batch: int = described(8, "labelled samples of the owner in a step", least=1)
    replay_batch: int = described(16, "samples of the bundle in a step", least=0)
    owner_weight: float = described(4.0, "weight of an owner's label; a replayed one weighs 1", above=0)
    knobs: Mapping[str, Curve] = field(
        default_factory=dict, metadata={"help": "α β γ T, as numbers or curves over the run"}
    )
    shift: int = described(0, "pixels that an image of the owner is moved by at most, anew in each step", least=0)
    once: bool = described(False, "takes the labelled samples in order, each in one step only, and guesses nothing")
    save_every: int = described(20, "steps between two saves of the unfinished run", least=1)
    replay: str | None = described(None, "who answers the bundle's samples: own, mentor, auto (none: the setting)")
    rounds: int | None = described(None, "rounds of guessing missing labels (none: the setting)", least=0)
    guessed_batch: int = described(16, "samples with a guessed label in a step", least=1)
    guess_weight: float = described(1.0, "weight of a guessed label; an owner's weighs 1", above=0)
    holdout: float = described(
        0.0, "share of the owner's labels of each class that judge the run, not learnt from", least=0
    )
    learning_rate: float | None = described(None, "learning rate from this run on (none: as it is)")
    seed: int | None = described(None, "restarts the random state (none: goes on with it)", least=0)

    def __post_init__(self) -> None:
        self._make_plain()
        for one in fields(Plan):
            value, least, above = getattr(self, one.name), one.metadata.get("least"), one.metadata.get("above")
            if value is not None and least is not None and value < least:
                raise LearningError(f"{one.name} is {value}, expected at least {least}")
            if above is not None and not above < value < FLOAT32_END:
                raise LearningError(f"{one.name} is {value}, expected a finite number above {above}")
        if self.holdout >= 1 or (self.once and self.holdout):
            raise LearningError(
                f"holdout is {self.holdout}, expected a share below 1"
                + (", and 0 in one pass, which learns from each sample once" if self.once else "")
            )
        if self.learning_rate is not None:
            check_learning_rate(self.learning_rate)
        if self.replay is not None and self.replay not in REPLAYS:
            raise LearningError(f"replay is {self.replay!r}, expected {', '.join(REPLAYS[:-1])} or {REPLAYS[-1]}")
        for name, curve in self.knobs.items():
            if name not in KNOBS:
                raise LearningError(f"no knob {name!r}; there are {', '.join(KNOBS)}")
            try:
                check_curve(name, curve)
            except ValueError as error:
                raise LearningError(str(error)) from error
        if self.replay == OWN and highest(self.knobs.get("beta", 0.0)) > 0:
            raise LearningError(
                "beta weighs the mentor's layers, and the base's own answers have none: leave beta out, or set replay to "
                f"{AUTO!r} or {MENTOR!r}"
            )

    def _make_plain(self) -> None:
        """Copies what was given; the graphs, and the JSON of a version, take no other kind. Raises LearningError, SampleError."""
        given: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(Plan)}
        for one in fields(Plan):
            if {int, float}.intersection({one.type, *get_args(one.type)}):
                given[one.name] = plain_number(one.name, given[one.name], one.type)
        if not isinstance(given["knobs"], Mapping):
            raise LearningError(
                f"knobs are {given['knobs']!r}, expected names with numbers or curves: {{'alpha': 0.5}}"
            )
        if not isinstance(given["once"], bool):
            raise LearningError(f"once is {given['once']!r}, expected True or False")
        if given["budget"] is not None and not isinstance(given["budget"], Budget):
            raise LearningError(f"budget is {given['budget']!r}, expected a Budget: Budget(steps=100)")
        if given["samples"] is not None:
            given["samples"] = sample_numbers(given["samples"])
        for name, value in given.items():
            object.__setattr__(
                self, name, value if name == "budget" else plain(value)
            )  # it is frozen for everybody else

    def resolved(
        self, settings: Settings, stored: Sequence[About], learnt: Collection[int] = frozenset()
    ) -> "ResolvedPlan":
        """Decides what is None by the settings and the defaults; `stored`: the whole sample store, `learnt`: which of its labels
        the present mentee has learnt from, so that they are not held out. Raises LearningError."""
        replay = settings.replay if self.replay is None else self.replay
        rounds = settings.rounds if self.rounds is None else self.rounds
        if replay == OWN and highest(settings.beta or 0.0) > 0:
            raise LearningError(
                "the settings' beta weighs the mentor's layers, and the base's own answers have none: set replay to 'auto' or "
                "'mentor', or beta to None"
            )
        label = {one.number: one.label for one in stored}
        if self.samples is None:
            samples = tuple(number for number in label if label[number] >= 0 or (rounds and not self.once))
        else:
            samples = tuple(self.samples)
        held = held_out([one for one in stored if one.number in set(samples)], self.holdout, learnt)
        samples = tuple(number for number in samples if number not in held)
        unlabelled = tuple(number for number in samples if label.get(number, 0) < 0)
        if self.budget is None:
            labelled = any(label.get(number, -1) >= 0 for number in samples)
            budget = Budget(steps=STEPS if labelled or not rounds else STEPS * rounds // (rounds + 1))
        else:
            budget = self.budget
        given = {one.name: getattr(self, one.name) for one in fields(Plan)}
        decided = {"samples": samples, "budget": budget, "replay": replay, "rounds": rounds}
        return ResolvedPlan(**given | decided, unlabelled=unlabelled, held=held)


def require_plan(given: Any) -> None:
    """Raises LearningError for what is no plan."""
    if not isinstance(given, Plan):
        raise LearningError(f"the plan is {given!r}, expected a Plan: Plan(budget=Budget(steps=100))")


@dataclass(frozen=True, kw_only=True)
class ResolvedPlan(Plan):
    """A plan with nothing left open. `unlabelled`: which of `samples` had no label when the run began; `held`: numbers of the
    labelled ones that judge it."""

    samples: tuple[int, ...]
    budget: Budget
    replay: str = AUTO
    rounds: int = Settings.rounds
    unlabelled: tuple[int, ...] = ()
    held: tuple[int, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The plan for a version's row; learning rate and random state are in its snapshot."""
        whole = {**asdict(self), "budget": self.budget.as_json()}
        del whole["learning_rate"], whole["seed"]
        if not whole["shift"]:  # so that an older program reads it
            del whole["shift"]
        return whole

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "ResolvedPlan":
        """Reads what `as_json` wrote, also that of a program that knew neither `replay` nor `rounds`. Raises LearningError for
        what no program wrote."""
        before = {"replay": MENTOR, "rounds": 0}
        try:
            numbers = {
                "samples": tuple(raw["samples"]),
                "unlabelled": tuple(raw.get("unlabelled", ())),
                "held": tuple(raw.get("held", ())),
            }
            once = bool(raw.get("once", False))  # such a program took any value for it
            return cls(**{**before, **raw, **numbers, "once": once, "budget": Budget(**raw["budget"])})
        except (KeyError, TypeError, ValueError) as error:
            raise LearningError(f"the run's plan is damaged ({error}): discard the run, or roll back") from error
