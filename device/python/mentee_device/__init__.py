"""The device's side of mentor-mentee distillation: trains a bundle's mentee on its owner's data.

>>> with Bundle.open("mentee.zip") as bundle, Owner(bundle, "me") as owner:
...     owner.add(Samples(photos, labels))
...     print(owner.learn(Plan(budget=Budget(steps=40))).why)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mentee_device.anomaly.normal import Watch as Watch
    from mentee_device.bundle.archive import Bundle as Bundle
    from mentee_device.bundle.errors import BundleError as BundleError
    from mentee_device.bundle.manifest import Manifest as Manifest
    from mentee_device.bundle.samples import SampleError as SampleError
    from mentee_device.bundle.samples import Samples as Samples
    from mentee_device.bundle.samples import Supervision as Supervision
    from mentee_device.bundle.scale import Preprocessed as Preprocessed
    from mentee_device.bundle.scale import Raw as Raw
    from mentee_device.core.learner import Learned as Learned
    from mentee_device.core.learner import Learner as Learner
    from mentee_device.core.learner import Prediction as Prediction
    from mentee_device.core.runtime import RuntimeMissing as RuntimeMissing
    from mentee_device.core.snapshot import Snapshot as Snapshot
    from mentee_device.core.step import LearningError as LearningError
    from mentee_device.folder import migrate as migrate
    from mentee_device.guard.answers import Answers as Answers
    from mentee_device.labels.assign import Guess as Guess
    from mentee_device.labels.assign import GuessRules as GuessRules
    from mentee_device.online.asking import AskResult as AskResult
    from mentee_device.online.conditions import on_charger as on_charger
    from mentee_device.online.errors import AskError as AskError
    from mentee_device.online.service import Service as Service
    from mentee_device.owner import Owner as Owner
    from mentee_device.relocate.merge import Merged as Merged
    from mentee_device.relocate.migrate import Migrated as Migrated
    from mentee_device.relocate.state_file import import_state as import_state
    from mentee_device.runs.plans.budget import Budget as Budget
    from mentee_device.runs.plans.plan import Plan as Plan
    from mentee_device.runs.plans.settings import SettingError as SettingError
    from mentee_device.runs.plans.settings import Settings as Settings
    from mentee_device.runs.run import Progress as Progress
    from mentee_device.runs.runs import RunResult as RunResult
    from mentee_device.runs.unlearn import Unlearned as Unlearned
    from mentee_device.state.storage.database import StateError as StateError

HOMES = {
    "AskError": "online.errors",
    "AskResult": "online.asking",
    "Answers": "guard.answers",
    "Budget": "runs.plans.budget",
    "Bundle": "bundle.archive",
    "BundleError": "bundle.errors",
    "Guess": "labels.assign",
    "GuessRules": "labels.assign",
    "Learned": "core.learner",
    "Learner": "core.learner",
    "LearningError": "core.step",
    "Manifest": "bundle.manifest",
    "Merged": "relocate.merge",
    "Migrated": "relocate.migrate",
    "Owner": "owner",
    "Plan": "runs.plans.plan",
    "Prediction": "core.learner",
    "Preprocessed": "bundle.scale",
    "Progress": "runs.run",
    "Raw": "bundle.scale",
    "RunResult": "runs.runs",
    "RuntimeMissing": "core.runtime",
    "SampleError": "bundle.samples",
    "Samples": "bundle.samples",
    "Service": "online.service",
    "SettingError": "runs.plans.settings",
    "Settings": "runs.plans.settings",
    "Snapshot": "core.snapshot",
    "StateError": "state.storage.database",
    "Supervision": "bundle.samples",
    "Unlearned": "runs.unlearn",
    "Watch": "anomaly.normal",
    "import_state": "relocate.state_file",
    "migrate": "folder",
    "on_charger": "online.conditions",
}
__all__ = list(HOMES)


def __getattr__(name: str) -> Any:
    """Imports it when it is first used, so that the package itself costs nothing (PEP 562)."""
    if name not in HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(HOMES)
