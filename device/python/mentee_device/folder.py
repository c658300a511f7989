"""An owner's folder as a whole: the parts of the program that keep rows in it, and its migration to a new base bundle."""

import os

from mentee_device.anomaly.monitor import NormalRows
from mentee_device.bundle.archive import Bundle
from mentee_device.guard.base_logits import GOLDEN_LOGITS, REPLAY_LOGITS
from mentee_device.labels.evidence import EvidenceRows
from mentee_device.prototypes.enrolled import EnrolledRows
from mentee_device.relocate import migrate as migrating
from mentee_device.relocate.migrate import Migrated
from mentee_device.runs.plans.budget import Budget
from mentee_device.runs.plans.settings import SettingRows
from mentee_device.runs.run import OnProgress
from mentee_device.state.answers import AnswerRows
from mentee_device.state.asked import AskedRows
from mentee_device.state.class_names import ClassNameRows
from mentee_device.state.storage.store import Store

FEATURES = (
    ClassNameRows(),
    EvidenceRows(),
    SettingRows(),
    EnrolledRows(),
    NormalRows(),
    AnswerRows(),
    AskedRows(),
    GOLDEN_LOGITS,
    REPLAY_LOGITS,
)


def migrate_store(
    store: Store,
    bundle: Bundle,
    threads: int = 1,
    budget: Budget | None = None,
    on_progress: OnProgress | None = None,
    backend: str | None = None,
) -> Migrated:
    """Moves an opened store to `bundle`, with all that is in it: see relocate/migrate.py."""
    return migrating.migrate(
        store, bundle, FEATURES, threads=threads, backend=backend, budget=budget, on_progress=on_progress
    )


def migrate(
    folder: str | os.PathLike[str],
    bundle: Bundle,
    key: bytes | None = None,
    threads: int = 1,
    budget: Budget | None = None,
    *,
    on_progress: OnProgress | None = None,
    backend: str | None = None,
) -> Migrated:
    """Moves the state in `folder` to `bundle`; the bundle it was learned on is not needed. Replays for `budget`, by default as
    many steps as the current version has learnt for. Raises StateError, LearningError, BundleError; nothing is changed then."""
    with Store(folder, None, key) as store:
        return migrate_store(store, bundle, threads, budget, on_progress, backend)
