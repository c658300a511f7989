"""The device's side of mentor-mentee distillation; see the README next to this package's pyproject.toml.

>>> with Bundle.open("mentee.zip") as bundle, Learner(bundle, state="owner.sqlite") as learner:
...     learner.learn(Samples(photos, labels), steps=40)
...     learner.save()
"""

from mentee_device.bundle import Bundle
from mentee_device.learner import Learned, Learner, LearningError, Prediction
from mentee_device.manifest import BundleError, Manifest
from mentee_device.runtime import RuntimeMissing
from mentee_device.samples import SampleError, Samples, Supervision
from mentee_device.state import StateError

__all__ = [
    "Bundle",
    "BundleError",
    "Learned",
    "Learner",
    "LearningError",
    "Manifest",
    "Prediction",
    "RuntimeMissing",
    "SampleError",
    "Samples",
    "StateError",
    "Supervision",
]
