"""Distils a large mentor into a small mentee: the commands, and what they are made of for a script.

config = distill.compose(["data=digits", "schedule=obedient", "run_dir=runs/mine"])  # as the command does it
result = distill.distill(config)

student = distill.distillation(mentee, mentor, train_loader, mean=[0.5], std=[0.25])  # networks and loader of your own
pl.Trainer(max_epochs=5).fit(student, train_loader, val_loader)
"""

from typing import TYPE_CHECKING

from mentor_mentee.lazy import lazily

if TYPE_CHECKING:
    from distill.curves import Schedule as Schedule
    from distill.evaluate.evaluation import Evaluation as Evaluation
    from distill.evaluate.judge import Findings as Findings
    from distill.evaluate.judge import evaluate_checkpoints as evaluate_checkpoints
    from distill.from_overrides import compose as compose
    from distill.handover import RunResult as RunResult
    from distill.library.distillation import distillation as distillation
    from distill.library.student import Student as Student
    from distill.machine import Machine as Machine
    from distill.run import distill as distill
    from distill.schema import DistillConfig as DistillConfig
    from distill.schema import EvaluateConfig as EvaluateConfig
    from distill.schema import FitConfig as FitConfig
    from distill.schema import LossConfig as LossConfig
    from distill.schema import MenteeConfig as MenteeConfig
    from distill.schema import MentorConfig as MentorConfig
    from distill.training.module import Distillation as Distillation
    from mentor_mentee.data.views.view import View as View
    from mentor_mentee.naming import recipe as recipe

__getattr__, __dir__ = lazily(
    __name__,
    {
        "DistillConfig": "distill.schema",
        "Distillation": "distill.training.module",
        "EvaluateConfig": "distill.schema",
        "Evaluation": "distill.evaluate.evaluation",
        "Findings": "distill.evaluate.judge",
        "FitConfig": "distill.schema",
        "LossConfig": "distill.schema",
        "Machine": "distill.machine",
        "MenteeConfig": "distill.schema",
        "MentorConfig": "distill.schema",
        "RunResult": "distill.handover",
        "Schedule": "distill.curves",
        "Student": "distill.library.student",
        "View": "mentor_mentee.data.views.view",
        "compose": "distill.from_overrides",
        "distill": "distill.run",
        "distillation": "distill.library.distillation",
        "evaluate_checkpoints": "distill.evaluate.judge",
        "recipe": "mentor_mentee.naming",
    },
)
