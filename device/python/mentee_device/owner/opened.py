"""An owner's folder, opened: the learner, the store and all that goes by the bundle.

Everything that lasts lies in that folder (state/store.py) and moves together; the parameters that answer are always those of
the current version.
"""

import os
from typing import Any, Self

from mentee_device.anomaly.monitor import Monitor
from mentee_device.bundle.archive import Bundle
from mentee_device.core.learner import Learner
from mentee_device.online.asking import Asking
from mentee_device.prototypes.enrolled import Enrolled
from mentee_device.runs.plans.settings import Settings, read_settings, write_settings
from mentee_device.runs.runs import Runs
from mentee_device.state import base
from mentee_device.state.class_names import read_names
from mentee_device.state.device_state import DeviceState
from mentee_device.state.storage.store import Entry, Store


class Opened:
    """The floor of an owner: nothing here answers or learns."""

    def __init__(
        self,
        bundle: Bundle,
        folder: str | os.PathLike[str],
        key: bytes | None = None,
        threads: int = 1,
        backend: str | None = None,
    ) -> None:
        self._backend = backend
        self.learner = Learner(bundle, threads, backend)
        self.store = Store(folder, bundle.manifest.id, key)
        try:
            self._attach(bundle)
        except BaseException:
            self.store.close()
            raise

    def _attach(self, bundle: Bundle) -> None:
        """Makes everything that goes by the bundle; the learner is at its base."""
        self.bundle = bundle = bundle.named(read_names(self.store))
        base.write_once(self.store, base.Base.of(bundle.manifest, self.learner.parameters()))
        self.state = DeviceState.on(bundle, self.store, self.learner.threads, self.learner.backend)
        self.samples, self.versions = self.state.samples, self.state.versions
        self.settings = read_settings(self.store)
        self.enrolled = Enrolled(self.state, self.learner)
        self.monitor = Monitor(self.state, self.learner)
        self.asking = Asking(self.state)
        self.runs = Runs(self.state, self.learner, lambda: self.settings)
        self.runs.go_to_current()

    @property
    def notes(self) -> list[str]:
        """Notes on what was found damaged or unfinished on opening, and what was done; it is in the log as well."""
        return self.store.notes

    def _name_anew(self) -> None:
        """Goes by the names of the store, where those are others."""
        if read_names(self.store) != self.bundle.manifest.names:
            self.monitor.close()
            self._attach(self.bundle)

    def log(self, last: int | None = None) -> list[Entry]:
        """The log of what was learnt when, and why it was accepted or dropped; oldest first, all or the `last` lines."""
        return self.store.log(last)

    def set(self, **changes: Any) -> Settings:
        """Changes settings at any time, also while a run goes on: its next step knows. Raises SettingError."""
        self.settings = write_settings(self.store, self.bundle.manifest, **changes)
        return self.settings

    def close(self) -> None:
        """Frees the runtime's memory and lets another process in; a second time it does nothing."""
        if not self.store.closed:
            self.store.close()
            self.runs.golden.close()
            self.learner.close()
            self.monitor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
