"""A mentee's way to another base, and to another device of its owner."""

import os

from mentee_device.bundle.archive import Bundle
from mentee_device.core.learner import Learner
from mentee_device.folder import migrate_store
from mentee_device.owner.opened import Opened
from mentee_device.relocate import merge as merging
from mentee_device.relocate import state_file
from mentee_device.relocate.merge import Merged
from mentee_device.relocate.migrate import Migrated
from mentee_device.runs.plans.budget import Budget
from mentee_device.runs.run import OnProgress


class Relocating(Opened):
    """The owner's moves to another bundle or device, with what was learnt."""

    def migrate(
        self, bundle: Bundle, budget: Budget | None = None, *, on_progress: OnProgress | None = None
    ) -> Migrated:
        """An app update: from now on this is the mentee of `bundle`, with what was learnt where that helps; `migrate` of this
        package does it where the old bundle is gone. An unfinished run is dropped; its samples are not."""
        self.runs.require_rest()
        threads = self.learner.threads
        migrated = migrate_store(self.store, bundle, threads, budget, on_progress, self._backend)
        self.monitor.close()
        self.learner.close()
        self.learner = Learner(bundle, threads, self._backend)
        self._attach(bundle)
        return migrated

    def export_state(self, path: str | os.PathLike[str]) -> int:
        """Writes the whole state to one file, encrypted where the state is, for `import_state` or `merge` on another of the
        owner's devices, whichever client it has; its bytes. Nothing else leaves the folder. Raises StateError."""
        self.runs.require_rest()
        return state_file.export_state(self.state, path)

    def merge(self, path: str | os.PathLike[str]) -> Merged:
        """Takes in what another device of this owner exported: relocate/merge.py. Raises StateError, LearningError."""
        self.runs.require_rest()
        merged = merging.merge(self.runs, self.enrolled, path)
        self._name_anew()
        return merged
