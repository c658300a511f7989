"""Names of the classes: the bundle's, and those that the owner gave to its spare ones."""

from mentee_device.bundle.samples import SampleError
from mentee_device.folder import FEATURES
from mentee_device.owner.opened import Opened
from mentee_device.runs import unlearn as unlearning
from mentee_device.runs.plans.given import plain
from mentee_device.runs.plans.settings import rename_blocked
from mentee_device.runs.run import OnProgress
from mentee_device.runs.unlearn import Unlearned
from mentee_device.state import class_names
from mentee_device.state.class_names import read_names


class Classes(Opened):
    """A class that is named can be learnt and answered."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by number, those that the owner gave among them; a spare class without one has the bundle's name."""
        return self.bundle.manifest.classes

    def name_class(self, name: str, number: int | None = None) -> int:
        """Names a spare class of the bundle, which from then on can be learnt and answered; its number, for labels. A name that
        one has already gives that one's. `number`: another name for that spare class. Raises SampleError."""
        self.runs.require_rest()
        before = self.bundle.manifest
        with self.store.transaction():
            number, named = class_names.name_class(self.store, before, name, plain(number))
            rename_blocked(self.store, before, named)
        self._name_anew()
        return number

    def remove_class(self, name: str, *, on_progress: OnProgress | None = None) -> Unlearned:
        """Unlearns every sample of a class, those set aside among them, removes what was enrolled of it, and frees the spare
        class that has this name: nothing answers it, and another class may have it. Raises SampleError for no class."""
        self.runs.require_rest()
        before = self.bundle.manifest
        gone = unlearning.of_class(self.state, name)
        if name in self.enrolled.samples()[1].values():
            self.enrolled.remove(name)
        elif not gone and name not in before.classes:
            raise SampleError(f"there is no class {name!r}, nothing was removed")

        def free() -> None:
            class_names.free(self.store, before, name)
            rename_blocked(self.store, before, before.named(read_names(self.store)))

        try:
            return unlearning.unlearn_samples(self.runs, FEATURES, gone, on_progress, free)
        finally:
            self._name_anew()
