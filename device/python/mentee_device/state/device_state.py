"""One owner's state on its base, as the rooms above share it."""

from dataclasses import dataclass

from mentee_device.bundle.archive import Bundle
from mentee_device.bundle.manifest import Manifest
from mentee_device.core.learner import Learner
from mentee_device.state.answers import AnswerStore
from mentee_device.state.sample_store import SampleStore
from mentee_device.state.storage.store import Store
from mentee_device.state.versions import Versions


@dataclass(frozen=True)
class DeviceState:
    """`bundle` is the base; `samples`, `versions` and the mentor's `answers` lie in `store`, and move with it in one transaction.
    `threads` and `backend`: those of every learner that works on this state."""

    bundle: Bundle
    store: Store
    samples: SampleStore
    versions: Versions
    answers: AnswerStore
    threads: int
    backend: str

    @classmethod
    def on(cls, bundle: Bundle, store: Store, threads: int, backend: str) -> "DeviceState":
        """The state in `store`, which belongs to `bundle`."""
        return cls(
            bundle,
            store,
            SampleStore(store, bundle.manifest),
            Versions(store),
            AnswerStore(store, bundle.manifest),
            threads,
            backend,
        )

    def base(self) -> Learner:
        """Another learner for this state, at the base. Raises BundleError."""
        return Learner(self.bundle, self.threads, self.backend)

    @property
    def manifest(self) -> Manifest:
        """The bundle's."""
        return self.bundle.manifest
