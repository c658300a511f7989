"""One round's learning: a run of the device's own program on a mentee in memory, under the mentor's answers and the guard.

The owner's versions stay what they are, so a round that is killed, refused or never answered changes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from mentee_device import Budget, Learner, Owner, Plan, Supervision
from mentee_device.runs.plans.plan import ResolvedPlan
from mentee_device.runs.replay import Answered, remembered_answers
from mentee_device.runs.run import Done, Run

from fleet.wire.arrays import Arrays
from fleet.wire.errors import FleetError
from fleet.wire.terms import Terms


@dataclass(frozen=True)
class Learnt:
    """`count`: labelled samples it learnt from, numbers `learned`; `loss` of the last step, `golden` accuracy after it."""

    count: int
    learned: tuple[int, ...]
    loss: float
    golden: float


def plan_of(owner: Owner, terms: Terms, most_steps: int) -> ResolvedPlan:
    """The server's terms as a plan over this owner's samples, within the device's own bound. Raises LearningError."""
    plan = Plan(
        budget=Budget(steps=min(terms.steps, most_steps)),
        batch=terms.batch,
        replay=terms.replay,
        replay_batch=terms.replay_batch,
        owner_weight=terms.owner_weight,
        learning_rate=terms.learning_rate or None,
        knobs=terms.knobs(),
        rounds=0,
        holdout=terms.holdout,
    )
    return plan.resolved(owner.settings, owner.samples.all())


def learn(
    owner: Owner,
    learner: Learner,
    plan: ResolvedPlan,
    seed: int,
    after_step: Callable[[Learner], None] | None = None,
    pack: Supervision | None = None,
) -> Learnt:
    """Runs `plan` on `learner` as it is, and asks the guard. `pack`: replay samples under other answers than the bundle's. Raises
    FleetError where the guard refuses, LearningError where there is nothing to learn from or a step blows up."""
    samples, weights = owner.samples.read(plan.samples)
    learner.seed(seed)
    if plan.learning_rate is not None:
        learner.learning_rate = plan.learning_rate
    answers = Answered(pack) if pack is not None else None
    if answers is None and plan.replay_batch:
        answers = remembered_answers(owner.state, learner, plan.replay)
    run = Run(learner, plan, samples, weights, Done(), answers)
    while run.fraction < 1:
        run.step(owner.settings.knobs())
        if after_step is not None:
            after_step(learner)
    learner.end_collecting()
    verdict = owner.runs.golden.judge(learner, owner.settings.limits())
    if verdict.reasons:
        raise FleetError(f"the device's guard refuses what it learnt, and sends nothing: {'; '.join(verdict.reasons)}")
    labelled = tuple(number for number, label in zip(plan.samples, samples.labels, strict=True) if label >= 0)
    return Learnt(len(labelled), labelled, float(run.last["loss"]), verdict.candidate.accuracy)


def towards(centre: Arrays, mu: float) -> Callable[[Learner], None]:
    """FedProx's term μ/2·‖w − w₀‖² (arXiv 1812.06127) as a proximal step after each step of the optimizer: its own minimum on
    the line to w₀, w ← (w + η·μ·w₀) / (1 + η·μ). No graph needs another input for it."""

    def pull(learner: Learner) -> None:
        share = learner.learning_rate * mu
        now = learner.parameters()
        learner.set_parameters(
            {name: ((now[name] + share * value) / (1 + share)).astype(np.float32) for name, value in centre.items()}
        )

    return pull
