"""The device's side of mentor-mentee distillation: trains a bundle's mentee on its owner's data.

>>> with Bundle.open("mentee.zip") as bundle, Owner(bundle, "me") as owner:
...     owner.add(Samples(photos, labels))
...     print(owner.learn(Plan(budget=Budget(steps=40))).why)
"""

from mentee_device.anomaly.normal import Watch
from mentee_device.bundle.archive import Bundle
from mentee_device.bundle.errors import BundleError
from mentee_device.bundle.manifest import Manifest
from mentee_device.bundle.samples import SampleError, Samples, Supervision
from mentee_device.bundle.scale import Preprocessed, Raw
from mentee_device.core.learner import Learned, Learner, LearningError, Prediction
from mentee_device.core.runtime import RuntimeMissing
from mentee_device.core.snapshot import Snapshot
from mentee_device.folder import migrate
from mentee_device.guard.answers import Answers
from mentee_device.labels.assign import Guess, GuessRules
from mentee_device.owner import Owner
from mentee_device.relocate.merge import Merged
from mentee_device.relocate.migrate import Migrated
from mentee_device.relocate.state_file import import_state
from mentee_device.runs.plans.budget import Budget
from mentee_device.runs.plans.plan import Plan
from mentee_device.runs.plans.settings import SettingError, Settings
from mentee_device.runs.run import Progress
from mentee_device.runs.runs import RunResult
from mentee_device.runs.unlearn import Unlearned
from mentee_device.state.storage.database import StateError

__all__ = [
    "Answers",
    "Budget",
    "Bundle",
    "BundleError",
    "Guess",
    "GuessRules",
    "Learned",
    "Learner",
    "LearningError",
    "Manifest",
    "Merged",
    "Migrated",
    "Owner",
    "Plan",
    "Prediction",
    "Preprocessed",
    "Progress",
    "Raw",
    "RunResult",
    "RuntimeMissing",
    "SampleError",
    "Samples",
    "SettingError",
    "Settings",
    "Snapshot",
    "StateError",
    "Supervision",
    "Unlearned",
    "Watch",
    "import_state",
    "migrate",
]
