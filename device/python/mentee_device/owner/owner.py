"""One owner's mentee: it answers, stores samples, learns as a transaction that the guard decides, and can go back.

Everything that lasts lies in one folder (state/store.py) and moves together; the parameters that answer are always those of
the current version. Axes: N samples, K classes, D embedding.
"""

import os
from collections.abc import Callable, Collection
from typing import Any

from numpy.typing import NDArray

from mentee_device.anomaly.monitor import Monitor
from mentee_device.anomaly.normal import Judged, Watch
from mentee_device.bundle.archive import Bundle
from mentee_device.bundle.samples import SampleError, Samples, preprocess
from mentee_device.bundle.scale import clear
from mentee_device.core.learner import Learner
from mentee_device.folder import FEATURES, migrate_store
from mentee_device.guard.answers import Answers, answer
from mentee_device.labels import assign
from mentee_device.labels.assign import Guess, GuessRules
from mentee_device.labels.pseudo_labels import GUESSED, Mentor
from mentee_device.online.asking import Asking
from mentee_device.prototypes.enrolled import Enrolled
from mentee_device.prototypes.enrolment import Recognised
from mentee_device.relocate import merge as merging
from mentee_device.relocate import state_file
from mentee_device.relocate.merge import Merged
from mentee_device.relocate.migrate import Migrated
from mentee_device.runs import intake
from mentee_device.runs import unlearn as unlearning
from mentee_device.runs.plans.budget import Budget
from mentee_device.runs.plans.given import plain
from mentee_device.runs.plans.plan import Plan
from mentee_device.runs.plans.settings import Settings, read_settings, rename_blocked, write_settings
from mentee_device.runs.run import OnProgress
from mentee_device.runs.runs import RunResult, Runs
from mentee_device.runs.unlearn import Unlearned
from mentee_device.state import base, class_names
from mentee_device.state.about import About
from mentee_device.state.class_names import read_names
from mentee_device.state.device_state import DeviceState
from mentee_device.state.storage.store import Entry, Store
from mentee_device.state.versions import BASE, Version


class Owner:
    """The mentee of `bundle` as this owner's `folder` has it; the folder is made where there is none.

    `threads` and `backend` are `Learner`'s; a state that one backend wrote goes on under another. `key`: 32 bytes that encrypt
    samples, parameters and all else that is personal. One process at a time. `notes` says what was mended on opening. Not for
    several threads at once, except `pause`. `samples`, `versions`, `enrolled` and `monitor` are the tables of
    the folder, `asking` the queue for the mentor's service. Raises
    BundleError, StateError, RuntimeMissing.
    """

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

    # answering

    def predict(self, input: NDArray[Any]) -> Answers:
        """`input` [N, C, H, W] as `preprocess` takes it, behind the rails of the settings. Raises SampleError."""
        self.runs.require_rest()
        found = self.learner.predict(input)
        manifest = self.bundle.manifest
        blocked = [*map(manifest.classes.index, self.settings.blocked), *manifest.unnamed]
        return Answers(*answer(found.logits, blocked, self.settings.confidence_floor), found.logits, found.embedding)

    def evaluate(self, input: NDArray[Any], labels: NDArray[Any]) -> float:
        """The share of samples whose highest logit is their label's, no rails. Raises SampleError."""
        self.runs.require_rest()
        return self.learner.evaluate(input, labels)

    def evaluate_golden(self) -> float:
        """`evaluate` on the bundle's golden set."""
        self.runs.require_rest()
        return self.learner.evaluate_golden()

    # classes

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

    def _name_anew(self) -> None:
        """Goes by the names of the store, where those are others."""
        if read_names(self.store) != self.bundle.manifest.names:
            self.monitor.close()
            self._attach(self.bundle)

    # samples

    def add(
        self, samples: Samples, source: str = "owner", weight: float = 1.0, mentor_logits_NK: NDArray[Any] | None = None
    ) -> list[int]:
        """Stores samples, all or none; their numbers. Raises SampleError for any that does not fit.

        `source` of the labels: owner, mentor, mentor-online, near_miss, stream, cluster or pseudo; an unlabelled one's is none.
        The same sample twice is one. Where a bound of the settings is reached others go (state/about.py), which the log says.
        """
        return intake.add(self.state, self.settings, samples, source, weight, mentor_logits_NK)

    def waiting(self) -> list[int]:
        """Numbers of the labelled samples that no run has drawn from yet, oldest first."""
        return intake.waiting(self.state)

    # learning

    def learn(self, plan: Plan | None = None, *, on_progress: OnProgress | None = None) -> RunResult:
        """One run of `plan` on the sample store, and the guard's verdict.

        Until the verdict the current version stays what it was, also through a crash; an unfinished run is saved every
        `plan.save_every` steps, waits in `paused` and goes on with `resume`, bit for bit as if nothing had happened where the
        budget is in steps or samples. `on_progress(Progress)` after each step may call `pause` or change the settings. Raises
        LearningError, SampleError, StateError, BundleError; nothing is changed then.
        """
        self.runs.require_rest()
        return self.runs.begin(plan or Plan(), on_progress)

    @property
    def paused(self) -> Version | None:
        """The unfinished run, of a `pause` or of a process that ended; None where there is none."""
        return self.runs.paused

    def pause(self) -> None:
        """Ends the present run after its step, to be resumed; from any thread or signal handler."""
        self.runs.stop()

    def resume(self, *, on_progress: OnProgress | None = None) -> RunResult:
        """Goes on with the unfinished run from its last save. Raises LearningError where there is none."""
        self.runs.require_rest()
        return self.runs.resume(on_progress)

    def discard(self, why: str = "discarded by the owner") -> None:
        """Drops the unfinished run. Raises LearningError where there is none."""
        self.runs.require_rest()
        self.runs.drop(self.runs.require_paused().number, why)

    def stream(
        self,
        samples: Samples,
        every: int = 32,
        source: str = "owner",
        plan: Plan | None = None,
        *,
        on_progress: OnProgress | None = None,
    ) -> list[RunResult]:
        """One pass: stores `samples` as they come, and runs `plan` each time `every` labelled ones are waiting, each of them in
        one step only. Its samples, budget and `once` are set here. What is left over waits for the next call."""
        return intake.stream(
            self.state,
            intake.cleared(self.state, samples),
            every,
            plan or Plan(),
            take=lambda some: self.add(some, source),
            learn=lambda part: self.learn(part, on_progress=on_progress),
        )

    # going back

    def roll_back(self, version: int | None = None) -> int:
        """Makes an accepted version current, by default the newest intact one that the current grew from; its number.

        0 is the base. An unfinished run is dropped. Raises StateError where that version's checkpoint is gone.
        """
        self.runs.require_rest()
        return self.runs.roll_back(version)

    def reset(self) -> None:
        """Makes the base current; samples, older versions and the log stay."""
        self.roll_back(BASE)

    def unlearn(
        self,
        samples: Collection[int] | None = None,
        matching: Callable[[About], bool] | None = None,
        *,
        on_progress: OnProgress | None = None,
    ) -> Unlearned:
        """Removes samples, by number or by what is known of them, and what they taught: see runs/unlearn.py. Raises StateError
        for a number that never was, and nothing is removed then; what is raised later leaves the samples removed."""
        self.runs.require_rest()
        gone = unlearning.chosen(self.state, samples, matching)
        return unlearning.unlearn_samples(self.runs, FEATURES, gone, on_progress)

    # labels where there are none

    def guess(self, rules: GuessRules | None = None, mentor: Mentor | None = None) -> list[Guess]:
        """Labels for samples that have none, each marked as a guess, at a quarter of a label's weight; the new ones.

        First the mentor's: recorded with the sample, or `mentor(input)` -> logits [N, K] where it does not raise OSError. Then
        by `rules` the mentee's own, or those of the groups that the owner's samples lie in (runs/clusters.py), and what their
        neighbours in a stream say (labels/pseudo_labels.py). Raises SampleError.
        """
        self.runs.require_rest()
        return assign.guess(self.state, self.learner, rules or GuessRules(), mentor)

    def guesses(self) -> list[Guess]:
        """All guesses that stand, and what they were guessed from."""
        return assign.guesses(self.state)

    def undo_guesses(
        self,
        samples: Collection[int] | None = None,
        sources: Collection[str] = GUESSED,
        *,
        on_progress: OnProgress | None = None,
    ) -> Unlearned:
        """Takes guessed labels back, all or those of these samples and sources, and what they taught, as `unlearn` does; the
        samples stay, unlabelled. Raises SampleError for one that has no guessed label."""
        self.runs.require_rest()
        return assign.undo(self.runs, samples, sources, on_progress)

    # without learning

    def enrol(self, name: str, input: NDArray[Any]) -> list[int]:
        """Enrols samples [N, C, H, W] of a class, of the bundle's or a new one, for `recognise`; their numbers, for
        `enrolled.remove`. No step of training. Raises SampleError."""
        self.runs.require_rest()
        return self.enrolled.add(name, clear(input, self.bundle.manifest))

    def recognise(self, input: NDArray[Any], neighbours: int = 0, floor: float = -1.0) -> Recognised:
        """Among the bundle's and the enrolled classes, by embedding and the mentee's own answer: `Enrolment.recognise`,
        behind the rails of the settings. Raises SampleError."""
        self.runs.require_rest()
        return self.enrolled.recognise(input, self.settings, neighbours, floor)

    def observe(self, input: NDArray[Any], watch: Watch | None = None, now: float | None = None) -> int:
        """Takes samples in as normal, until the watch's period ends; how many. `watch` begins anew; `now` in seconds, by
        default the clock's. `monitor` has freeze, resume and stop. Raises SampleError."""
        self.runs.require_rest()
        input = clear(input, self.bundle.manifest)
        preprocess(input, self.bundle.manifest)
        if watch is not None:
            self.monitor.start(watch)
        return self.monitor.observe(input, now)

    def anomaly(self, input: NDArray[Any]) -> Judged:
        """Flags samples that deviate from what was observed, by their distance to it. Raises SampleError."""
        self.runs.require_rest()
        return self.monitor.judge(clear(input, self.bundle.manifest))

    # another base, another device

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

    # looking

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

    def __enter__(self) -> "Owner":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
