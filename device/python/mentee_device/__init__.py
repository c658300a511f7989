"""The device's side of mentor-mentee distillation; see the README next to this package's pyproject.toml.

>>> with Bundle.open("mentee.zip") as bundle, Owner(bundle, "me") as owner:
...     owner.add(Samples(photos, labels))
...     print(owner.learn(Budget(steps=40)).why)
"""

from mentee_device.bundle.archive import Bundle
from mentee_device.bundle.manifest import BundleError, Manifest
from mentee_device.bundle.samples import SampleError, Samples, Supervision
from mentee_device.core.learner import Learned, Learner, LearningError, Prediction
from mentee_device.core.runtime import RuntimeMissing
from mentee_device.core.snapshot import Snapshot
from mentee_device.owner import Answers, Owner
from mentee_device.relocate.merge import Merged
from mentee_device.relocate.migrate import Carried, update
from mentee_device.relocate.state_file import import_state
from mentee_device.runs.budget import Budget
from mentee_device.runs.run import Progress
from mentee_device.runs.runs import Update
from mentee_device.runs.settings import SettingError, Settings
from mentee_device.state.database import StateError

__all__ = [
    "Answers",
    "Budget",
    "Bundle",
    "BundleError",
    "Carried",
    "Learned",
    "Learner",
    "LearningError",
    "Manifest",
    "Merged",
    "Owner",
    "Prediction",
    "Progress",
    "RuntimeMissing",
    "SampleError",
    "Samples",
    "SettingError",
    "Settings",
    "Snapshot",
    "StateError",
    "Supervision",
    "Update",
    "import_state",
    "update",
]
