"""The device's side of mentor-mentee distillation; see the README next to this package's pyproject.toml.

>>> with Bundle.open("mentee.zip") as bundle, Owner(bundle, "me") as owner:
...     owner.add(Samples(photos, labels))
...     print(owner.learn(Budget(steps=40)).why)
"""

from mentee_device.budget import Budget
from mentee_device.bundle import Bundle
from mentee_device.carry import Carried, update
from mentee_device.database import StateError
from mentee_device.learner import Learned, Learner, LearningError, Prediction
from mentee_device.learning import Update
from mentee_device.manifest import BundleError, Manifest
from mentee_device.merging import Merged
from mentee_device.owner import Answers, Owner
from mentee_device.run import Progress
from mentee_device.runtime import RuntimeMissing
from mentee_device.samples import SampleError, Samples, Supervision
from mentee_device.settings import SettingError, Settings
from mentee_device.snapshot import Snapshot
from mentee_device.transfer import import_state

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
