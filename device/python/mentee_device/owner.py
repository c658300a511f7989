"""One owner's mentee: it answers, keeps samples, learns as a transaction that the guard decides, and can go back.

Everything that lasts lies in one folder (store.py) and moves together; the parameters that answer are always those of the
current version. Axes: N samples, K classes, D embedding.
"""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.anomaly.normal import Judged, Watch
from mentee_device.anomaly.watching import Watching
from mentee_device.bundle.archive import Bundle
from mentee_device.bundle.samples import SampleError, Samples, check_labels, preprocess
from mentee_device.core.learner import Learner, LearningError
from mentee_device.labels import assign as guessing
from mentee_device.labels.pseudo_labels import CLUSTER_WEIGHT, GUESSED, Mentor
from mentee_device.prototypes.enrolled import Enrolled
from mentee_device.prototypes.enrolment import Recognised
from mentee_device.relocate import merge as merging
from mentee_device.relocate import state_file as transfer
from mentee_device.relocate.merge import Merged
from mentee_device.relocate.migrate import Carried, carry
from mentee_device.runs import golden as judging
from mentee_device.runs import unlearn as forgetting
from mentee_device.runs.budget import Budget
from mentee_device.runs.curves import Curve, highest
from mentee_device.runs.guard import DONT_KNOW, answer, softmax
from mentee_device.runs.replay import OWN, Replay
from mentee_device.runs.run import STEPS, Plan, Watcher
from mentee_device.runs.runs import Runs, Update
from mentee_device.runs.settings import Settings, read_settings, write_settings
from mentee_device.state import base
from mentee_device.state.database import StateError
from mentee_device.state.sample_store import SOURCES, About, Kept
from mentee_device.state.store import Entry, Store
from mentee_device.state.versions import BASE, Version, Versions, unlabelled_in


@dataclass(frozen=True)
class Answers:
    """`classes` [N] int64, −1 for "don't know", their `probability` [N], and what they come from: `logits` [N, K] and
    `embedding` [N, D]."""

    classes: NDArray[np.int64]
    probability: NDArray[np.float64]
    logits: NDArray[np.float32]
    embedding: NDArray[np.float32]


class Owner:
    """The mentee of `bundle` as this owner's `folder` has it; the folder is made where there is none.

    `key`: 32 bytes that encrypt samples, parameters and what other parts keep. One process at a time. `notes` says what was
    mended on opening. Not for several threads at once, except `pause`. Raises BundleError, StateError, RuntimeMissing.
    """

    def __init__(
        self, bundle: Bundle, folder: str | os.PathLike[str], key: bytes | None = None, threads: int = 1
    ) -> None:
        self.learner = Learner(bundle, threads)
        self.store = Store(folder, bundle.manifest.id, key)
        try:
            self._attach(bundle)
        except BaseException:
            self.store.close()
            raise

    def _attach(self, bundle: Bundle) -> None:
        """Everything that goes by the bundle; the learner is at its base."""
        self.bundle = bundle
        base.keep(self.store, base.Base.of(bundle.manifest, self.learner.parameters()))
        self.versions = Versions(self.store)
        self.kept = Kept(self.store, bundle.manifest)
        self.settings = read_settings(self.store)
        self.enrolled = Enrolled(self)
        self.watching = Watching(self)
        golden = judging.Golden(bundle, self.store, self.learner.threads)
        replay = Replay(bundle, self.store, self.learner.threads)
        self.runs = Runs(self.learner, self.versions, self.kept, golden, replay, lambda: self.settings)
        self.runs.go_to_current()

    @property
    def notes(self) -> list[str]:
        """What was found damaged or unfinished on opening, and what was done; it is in the log as well."""
        return self.store.notes

    # answering

    def predict(self, input: NDArray[Any]) -> Answers:
        """`input` [N, C, H, W] as `preprocess` takes it, behind the rails of the settings. Raises SampleError."""
        self._rest()
        found = self.learner.predict(input)
        blocked = [self.bundle.manifest.classes.index(name) for name in self.settings.blocked]
        return Answers(*answer(found.logits, blocked, self.settings.confidence_floor), found.logits, found.embedding)

    def evaluate(self, input: NDArray[Any], labels: NDArray[Any]) -> float:
        """The share of samples whose highest logit is their label's, no rails. Raises SampleError."""
        self._rest()
        return self.learner.evaluate(input, labels)

    def evaluate_golden(self) -> float:
        """`evaluate` on the bundle's golden set."""
        self._rest()
        return self.learner.evaluate_golden()

    # samples

    def add(
        self,
        samples: Samples,
        source: str = "owner",
        weight: float = 1.0,
        mentor_logits_NK: NDArray[Any] | None = None,
    ) -> list[int]:
        """Keeps samples, all or none; their numbers. Raises SampleError for any that does not fit.

        `source` of the labels: owner, mentor, near_miss, stream, cluster or pseudo; an unlabelled one's is none. The same sample
        twice is one. Where a bound is reached others go (kept.py), which the log says.
        """
        manifest = self.bundle.manifest
        if source not in SOURCES:
            raise SampleError(f"no source {source!r} of labels; there are {', '.join(SOURCES)}")
        if source == "none" and (np.asarray(samples.labels) >= 0).any():
            raise SampleError("source is 'none', but some samples have a label: say whose it is")
        if not 0 < weight < float("inf"):
            raise SampleError(f"weight is {weight}, expected a finite number above 0")
        labels = check_labels(samples.labels, len(samples.input), manifest, unlabelled=True)
        preprocess(samples.input, manifest)
        if mentor_logits_NK is not None and (
            mentor_logits_NK.shape != (len(samples), len(manifest.classes)) or not np.isfinite(mentor_logits_NK).all()
        ):
            raise SampleError(
                f"mentor's logits have shape {list(mentor_logits_NK.shape)}, expected finite "
                f"{[len(samples), len(manifest.classes)]}"
            )
        with self.store.transaction():
            numbers = self.kept.add(Samples(samples.input, labels), source, weight, mentor_logits_NK)
            gone = self.kept.make_room(self.settings.most_samples, self.settings.most_sample_bytes)
            evicted = f"; {len(gone)} others had to go" if gone else ""
            self.store.record(
                "samples", f"{len(numbers)} samples came, labels by {source}{evicted}", came=numbers, went=gone
            )
        return numbers

    def unlearnt(self) -> list[int]:
        """Numbers of the kept labelled samples that no run has drawn from yet, oldest first."""
        seen = {number for version in self.versions.all() for number in set(version.learned) - unlabelled_in(version)}
        return [one.number for one in self.kept.all() if one.label >= 0 and one.number not in seen]

    # learning

    def learn(
        self,
        budget: Budget | None = None,
        samples: Sequence[int] | None = None,
        *,
        batch: int = 8,
        replay_batch: int = 16,
        owner_weight: float = 4.0,
        replay: str | None = None,
        rounds: int | None = None,
        guessed_batch: int = 16,
        guess_weight: float = 1.0,
        knobs: Mapping[str, Curve] | None = None,
        learning_rate: float | None = None,
        seed: int | None = None,
        once: bool = False,
        save_every: int = 20,
        watch: Watcher | None = None,
    ) -> Update:
        """One run on the kept samples (or those numbered), and the guard's verdict; those without a label are guessed on the
        way, unless `rounds` is 0. By default 240 steps, 200 where nothing has a label.

        For the arguments see `Plan`; `replay` and `rounds` left out are the settings'. Until the verdict the current version
        stays what it was, also through a crash; an unfinished run is saved every `save_every` steps, waits in `paused` and
        goes on with `resume`, bit for bit as if nothing had happened where the budget is in steps or samples.
        `watch(Progress)` after each step may call `pause` or change the settings. Raises LearningError, SampleError,
        StateError, BundleError; nothing is changed then.
        """
        self._rest()
        replay = self.settings.replay if replay is None else replay
        rounds = self.settings.rounds if rounds is None else rounds
        about = self.kept.all()
        if samples is None:
            samples = [one.number for one in about if one.label >= 0 or (rounds and not once)]
        if budget is None:
            chosen = set(samples)
            labelled = any(one.label >= 0 and one.number in chosen for one in about)
            budget = Budget(steps=STEPS if labelled or not rounds else STEPS * rounds // (rounds + 1))
        if replay == OWN and highest(self.settings.beta or 0.0) > 0:
            raise LearningError(
                "the settings' beta weighs the mentor's layers, and the base's own answers have none: set replay to 'auto' or "
                "'mentor', or beta to None"
            )
        plan = Plan(
            tuple(samples),
            budget,
            batch,
            replay_batch,
            owner_weight,
            knobs or {},
            once,
            save_every,
            replay,
            rounds,
            guessed_batch,
            guess_weight,
        )
        return self.runs.begin(plan, learning_rate, seed, watch)

    @property
    def paused(self) -> Version | None:
        """The unfinished run, of a `pause` or of a process that ended; None where there is none."""
        return self.runs.paused

    def pause(self) -> None:
        """Ends the present run after its step, to be resumed; from any thread or signal handler."""
        self.runs.stop()

    def resume(self, watch: Watcher | None = None) -> Update:
        """Goes on with the unfinished run from its last save. Raises LearningError where there is none."""
        self._rest()
        return self.runs.resume(watch)

    def discard(self, why: str = "discarded by the owner") -> None:
        """Drops the unfinished run. Raises LearningError where there is none."""
        self._rest()
        self.runs.drop(self.runs.require_paused().number, why)

    def stream(self, samples: Samples, every: int = 32, source: str = "owner", **options: Any) -> list[Update]:
        """One pass: keeps `samples` as they come, and learns each time `every` labelled ones have not been learnt from,
        each of them in one step only. `options` as in `learn`. What is left over waits for the next call."""
        if every < 1:
            raise LearningError(f"every is {every}, expected at least 1")
        updates = []
        for start in range(0, len(samples), every):
            self.add(samples.take(np.arange(start, min(start + every, len(samples)))), source)
            waiting = self.unlearnt()
            while len(waiting) >= every:
                updates.append(self.learn(Budget(samples=every), waiting[:every], once=True, **options))
                if updates[-1].status == "paused":
                    if start + every < len(samples):
                        self.add(samples.take(np.arange(start + every, len(samples))), source)
                    return updates
                waiting = waiting[every:]
        return updates

    # going back

    def roll_back(self, version: int | None = None) -> int:
        """Makes a kept version current, by default the newest intact one that the current grew from; its number.

        0 is the base. An unfinished run is dropped. Raises StateError where that version's checkpoint is gone.
        """
        self._rest()
        current = self.versions.current
        if version is None:
            version = self.versions.newest_intact([one.number for one in self.versions.lineage(current)[1:]])
        elif version != BASE:
            if self.versions.get(version).status == "candidate":
                raise StateError(f"v{version} is unfinished: resume or discard it")
            self.versions.snapshot(version)  # before anything changes
        with self.store.transaction():
            if self.paused is not None:
                self.runs.drop(self.paused.number, f"the owner went back to v{version}")
            self.versions.make_current(version)
            self.store.record("rollback", f"back from v{current} to v{version}", before=current, after=version)
        self.runs.go_to_current()
        return version

    def reset(self) -> None:
        """Makes the base current; samples, older versions and the log stay."""
        self.roll_back(BASE)

    def forget(
        self,
        samples: Collection[int] | None = None,
        matching: Callable[[About], bool] | None = None,
        watch: Watcher | None = None,
    ) -> "forgetting.Forgotten":
        """Removes samples, by number or by what is known of them, and what they taught: see forgetting.py."""
        self._rest()
        return forgetting.forget(self, samples, matching, watch)

    # labels where there are none

    def guess(
        self,
        mentor: Mentor | None = None,
        *,
        threshold: float | None = 0.95,
        adaptive: bool = False,
        mentor_threshold: float = 0.0,
        pause: float | None = None,
        window: int = 5,
        near: float = 0.35,
        rule: str = "pseudo",
        weight: float = CLUSTER_WEIGHT,
    ) -> list[guessing.Guess]:
        """Labels for kept samples that have none, each marked as a guess, at a quarter of a label's weight; the new ones.

        First the mentor's: recorded with the sample, or `mentor(input)` -> logits [N, K] where it does not raise OSError.
        Then by `rule` "pseudo" the mentee's own above `threshold` (None: not at all), `adaptive` by class; or by "clusters"
        those of all that are left, at `weight`, by the groups that the owner's samples lie in (clusters.py). Then, where `pause`
        says how many seconds may lie between two frames of one stream, what their neighbours say: labels.py. Raises
        SampleError.
        """
        self._rest()
        return guessing.guess(self, mentor, threshold, adaptive, mentor_threshold, pause, window, near, rule, weight)

    def guesses(self) -> list[guessing.Guess]:
        """All guesses that stand, and what they were guessed from."""
        return guessing.guesses(self)

    def undo_guesses(
        self,
        samples: Collection[int] | None = None,
        sources: Collection[str] = GUESSED,
        watch: Watcher | None = None,
    ) -> "forgetting.Forgotten":
        """Takes guessed labels back, all or those of these samples and sources, and what they taught, as `forget` does;
        the samples stay, unlabelled. Raises SampleError for one that has no guessed label."""
        self._rest()
        return guessing.undo(self, samples, sources, watch)

    # without learning

    def enrol(self, name: str, input: NDArray[Any]) -> list[int]:
        """Enrols samples [N, C, H, W] of a class, of the bundle's or a new one, for `recognise`; their numbers, for
        `enrolled.remove`. No step of training. Raises SampleError."""
        self._rest()
        return self.enrolled.add(name, input)

    def recognise(self, input: NDArray[Any], neighbours: int = 0, floor: float = -1.0) -> Recognised:
        """Among the bundle's and the enrolled classes, by embedding and the mentee's own answer: `Enrolment.recognise`,
        behind the rails of the settings. Raises SampleError."""
        self._rest()
        found = self.learner.predict(input)
        near = self.enrolled.enrolment().recognise(
            found.embedding, softmax(found.logits), neighbours=neighbours, floor=floor
        )
        blocked = [near.names.index(name) for name in self.settings.blocked]
        with np.errstate(divide="ignore"):
            class_N, _ = answer(np.log(near.probability_NC), blocked, self.settings.confidence_floor)
        return replace(near, classes=np.where(near.classes == DONT_KNOW, DONT_KNOW, class_N))

    def observe(self, input: NDArray[Any], watch: Watch | None = None, now: float | None = None) -> int:
        """Takes samples in as normal, until the watch's period ends; how many. `watch` begins anew; `now` in seconds, by
        default the clock's. `watching` has freeze, resume and stop. Raises SampleError."""
        self._rest()
        preprocess(input, self.bundle.manifest)
        if watch is not None:
            self.watching.start(watch)
        return self.watching.observe(input, now)

    def anomaly(self, input: NDArray[Any]) -> Judged:
        """Which samples deviate from what was observed, by their distance to it. Raises SampleError."""
        self._rest()
        return self.watching.judge(input)

    # another base, another device

    def move_to(self, bundle: Bundle, budget: Budget | None = None, watch: Watcher | None = None) -> Carried:
        """An app update: from now on this is the mentee of `bundle`, and what was learnt is carried over where that helps:
        see `carry`, and its `update` where the old bundle is gone. An unfinished run is dropped; its samples are not."""
        self._rest()
        carried = carry(self.store, bundle, self.learner.threads, budget, watch)
        self.watching.close()
        self.learner.close()
        self.learner = Learner(bundle, self.learner.threads)
        self._attach(bundle)
        return carried

    def export_state(self, path: str | os.PathLike[str]) -> int:
        """Writes the whole state to one file, encrypted where the state is, for `import_state` or `merge` on another of the
        owner's devices; its bytes. Nothing else leaves the folder. Raises StateError."""
        self._rest()
        return transfer.export_state(self.store, path)

    def merge(self, path: str | os.PathLike[str]) -> Merged:
        """Takes in what another device of this owner exported: merging.py. Raises StateError, LearningError."""
        self._rest()
        return merging.merge(self, path)

    # looking

    def log(self, last: int | None = None) -> list[Entry]:
        """What was learnt when, and why it was kept or dropped; oldest first, all or the `last` ones."""
        return self.store.log(last)

    def set(self, **changes: Any) -> Settings:
        """Changes settings at any time, also while a run goes on: its next step knows. Raises SettingError."""
        self.settings = write_settings(self.store, self.bundle.manifest, **changes)
        return self.settings

    def close(self) -> None:
        """Frees the runtime's memory and lets another process in; a second time it does nothing."""
        if self.store.closed:
            return
        self.store.close()
        self.runs.golden.close()
        self.learner.close()
        self.watching.close()

    def __enter__(self) -> "Owner":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _rest(self) -> None:
        self.runs.require_rest()
