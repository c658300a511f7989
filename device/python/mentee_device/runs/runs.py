"""Runs of learning on an owner's state, one at a time: a candidate, saved as it goes, until the guard decides."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.samples import UNLABELLED, SampleError
from mentee_device.core.learner import Learner, LearningError, check_learning_rate
from mentee_device.runs import golden as judging
from mentee_device.runs.interpolation import part_of_the_way
from mentee_device.runs.replay import Replay
from mentee_device.runs.run import Done, Plan, Progress, Run, Watcher
from mentee_device.runs.settings import Settings
from mentee_device.state.database import Damaged, StateError
from mentee_device.state.sample_store import Kept
from mentee_device.state.versions import BASE, Version, Versions


@dataclass(frozen=True)
class Update:
    """What became of a run: version `number` was `kept` and is current, `dropped`, or is `paused`; `why` says for what
    reason. `golden_base`, `golden_before` and `golden_after`: accuracies on the golden set, None where it was not asked.
    `first` and `last`: loss and terms of this call's first and last step; `milliseconds` of each step without saving.
    `share`: how much of what the run changed was taken, 1 but where the setting `interpolate` had it taken in part."""

    number: int
    status: str
    why: str
    steps: int
    golden_base: float | None
    golden_before: float | None
    golden_after: float | None
    first: dict[str, float]
    last: dict[str, float]
    milliseconds: Sequence[float]
    share: float = 1.0


class Runs:
    """What `Owner` does with its learner while it learns; `settings` gives the present ones, which may change in a run."""

    def __init__(
        self,
        learner: Learner,
        versions: Versions,
        kept: Kept,
        golden: judging.Golden,
        replay: Replay,
        settings: Callable[[], Settings],
    ) -> None:
        self._learner, self._versions, self._kept = learner, versions, kept
        self.golden, self._replay, self._settings = golden, replay, settings
        self._store = versions.store
        self._stop = threading.Event()
        self._running = False

    def begin(self, plan: Plan, learning_rate: float | None, seed: int | None, watch: Watcher | None) -> Update:
        """For what it does and raises see `Owner.learn`."""
        if self.paused is not None:
            raise LearningError(f"run {self.paused.name} is unfinished: resume or discard it first")
        self.golden.require()
        self._stop.clear()
        if learning_rate is not None:
            check_learning_rate(learning_rate)
        try:
            if seed is not None:
                self._learner.seed(seed)
            if learning_rate is not None:
                self._learner.learning_rate = learning_rate
            open_ones = {one.number for one in self._kept.all() if one.label < 0}
            plan = replace(plan, unlabelled=tuple(number for number in plan.samples if number in open_ones))
            run = self._run(plan, Done())
            with self._store.transaction():
                start = self._learner.snapshot()
                number = self._versions.begin(run.plan.as_json(), run.plan.samples, self._versions.current, start)
                self._store.record("run", f"v{number} begins on {run.describe()}", version=number)
            return self._go(number, run, watch)
        except BaseException:
            self.go_to_current()
            raise

    @property
    def paused(self) -> Version | None:
        """The unfinished run, of a `pause` or of a process that ended."""
        return None if self._running else self._versions.candidate()

    def stop(self) -> None:
        """Ends the present run after its step; from any thread."""
        self._stop.set()

    def resume(self, watch: Watcher | None) -> Update:
        """From the unfinished run's last save."""
        version = self.require_paused()
        self._stop.clear()
        try:
            self._learner.restore(self._versions.snapshot(version.number))
            run = self._run(
                Plan.from_json(version.plan), Done(**version.progress), self._versions.guesses(version.number)
            )
            return self._go(version.number, run, watch)
        except Damaged as damage:
            try:
                self.drop(version.number, str(damage))
            finally:
                self.go_to_current()
            raise Damaged(f"{damage}; run v{version.number} was dropped, v{self._versions.current} answers") from damage
        except BaseException:
            self.go_to_current()
            raise

    def _run(self, plan: Plan, done: Done, guesses: Mapping[int, int] | None = None) -> Run:
        """`guesses`: of a run that was under way; some of its samples may be gone by now, and a label that was given since to one
        that had none is for the next run."""
        if guesses is not None:
            plan, done = self._left(plan, done)
        samples, weights = self._kept.read(plan.samples)
        if len(samples) < len(plan.samples):  # a damaged one was found, and removed
            plan, done = self._left(plan, done)
        samples = replace(samples, labels=np.where(np.isin(plan.samples, plan.unlabelled), UNLABELLED, samples.labels))
        known = np.array([(guesses or {}).get(number, UNLABELLED) for number in plan.samples], np.int64)
        replay = self._replay.answered(self._learner, plan.replay) if plan.replay_batch else None
        return Run(self._learner, plan, samples, weights, done, replay, known)

    def _left(self, plan: Plan, done: Done) -> tuple[Plan, Done]:
        """Without samples that are gone. A `once` run takes them in order: of what it has drawn, those are no more there."""
        kept = {one.number for one in self._kept.all()}
        left = replace(plan, samples=tuple(number for number in plan.samples if number in kept))
        if not plan.once:
            return left, done
        drawn = [number for number in plan.samples if number not in plan.unlabelled][: done.samples]
        return left, replace(done, samples=sum(number in kept for number in drawn))

    def _go(self, number: int, run: Run, watch: Watcher | None) -> Update:
        self._running = True
        saved, due = self._learner.step, False
        try:
            while run.fraction < 1 and (self._learner.collecting or not self._stop.is_set()):
                started = time.perf_counter()
                try:
                    terms = run.step(self._settings().knobs())
                except (LearningError, SampleError) as error:
                    self.drop(number, str(error))
                    raise
                due = due or run.done.steps % run.plan.save_every == 0
                if due and run.fraction < 1 and not self._learner.collecting:
                    due = False
                    run.spend(time.perf_counter() - started)
                    started = time.perf_counter()
                    self._save(number, run)
                    saved = self._learner.step
                run.spend(time.perf_counter() - started)
                if watch is not None:
                    watch(Progress(run.done, run.fraction, terms, saved))
            self._learner.end_collecting()  # a step that the budget cut short
            if run.fraction < 1:
                return self._pause(number, run)
            return self._settle(number, run)
        finally:
            self._running = False

    def _save(self, number: int, run: Run) -> None:
        guessed = zip(run.plan.samples, run.guesses.tolist(), strict=True)
        guesses = {sample: label for sample, label in guessed if label >= 0}
        self._versions.save(number, self._learner.snapshot(), asdict(run.done), guesses)

    def _pause(self, number: int, run: Run) -> Update:
        with self._store.transaction():
            self._save(number, run)
            self._store.record("run", f"v{number} is paused after {run.done.steps} steps", version=number)
        self.go_to_current()
        return self._update(number, "paused", "", run, None)

    def _settle(self, number: int, run: Run) -> Update:
        current = self._versions.current
        verdict, share, against = self._judged(number)
        golden = f"golden accuracy {verdict.base.accuracy:.4f} of the base -> {verdict.update.accuracy:.4f}"
        with self._store.transaction():
            self._versions.save(number, self._learner.snapshot(), asdict(run.done))
            if verdict.reasons:
                why = "; ".join(verdict.reasons)
                self._versions.settle(number, "dropped", why, verdict.as_json())
                line = f"v{number} was dropped after {run.done.steps} steps, v{current} stays: {why}"
                self._store.record("dropped", line, version=number, **verdict.as_json())
            else:
                why = golden if share == 1 else f"{golden}, {share:.0%} of the way, for all of it: {against}"
                self._versions.settle(number, "kept", why, {**verdict.as_json(), "share": share})
                self._versions.make_current(number)
                self._versions.prune(self._settings().most_versions)
                line = f"v{number} is current after {run.done.steps} steps on {run.describe()}: {why}"
                self._store.record("kept", line, version=number, **verdict.as_json())
        self._store.try_back_up()
        if verdict.reasons:
            self.go_to_current()
        update = self._update(number, "dropped" if verdict.reasons else "kept", why, run, verdict, current)
        return replace(update, share=share)

    def _judged(self, number: int) -> tuple[judging.Verdict, float, str]:
        """(verdict, the share of the run it is on, what there was against all of it)"""
        settings = self._settings()
        limits = settings.limits()
        verdict = self.golden.judge(self._learner, limits)
        against = "; ".join(verdict.reasons)
        if against and settings.interpolate and (start := self._began_with(number)) is not None:
            found = part_of_the_way(self._learner, start, lambda learner: self.golden.judge(learner, limits))
            if found is not None:
                return found[1], found[0], against
        return verdict, 1.0, against

    def _began_with(self, number: int) -> dict[str, NDArray[np.float32]] | None:
        """The parameters of the version that it grows from, None where they are gone; the learner stays as it is."""
        end, parent = self._learner.snapshot(), self._versions.get(number).parent
        try:
            if parent == BASE:
                self._learner.reset()
            else:
                self._learner.restore(self._versions.snapshot(parent))
            return self._learner.parameters()
        except StateError:
            return None
        finally:
            self._learner.restore(end)

    def _update(
        self, number: int, status: str, why: str, run: Run, verdict: "judging.Verdict | None", before: int = BASE
    ) -> Update:
        base = verdict.base.accuracy if verdict else None
        stood = self._versions.get(before).verdict.get("update", {}).get("accuracy") if before != BASE else base
        after = verdict.update.accuracy if verdict else None
        return Update(number, status, why, run.done.steps, base, stood, after, run.first, run.last, run.milliseconds)

    def drop(self, number: int, why: str) -> None:
        """A version that will not be current."""
        with self._store.transaction():
            self._versions.settle(number, "dropped", why)
            self._store.record("dropped", f"v{number} was dropped: {why}", version=number)

    def go_to_current(self) -> None:
        """The learner becomes the current version, or where that is damaged the newest intact one before it."""
        current = self._versions.current
        if current == BASE:
            self._learner.reset()
            return
        try:
            snapshot = self._versions.snapshot(current)
        except StateError as damage:
            before = self._versions.newest_intact([one.number for one in self._versions.lineage(current)[1:]])
            with self._store.transaction():
                self._versions.settle(current, "damaged", str(damage))
                self._versions.make_current(before)
                line = f"{damage}: went back to v{before}" + (", the base" if before == BASE else "")
                self._store.record("recovery", line, before=current, after=before)
            self._store.notes.append(line)
            self.go_to_current()
            return
        self._learner.restore(snapshot)

    def require_rest(self) -> None:
        """Raises LearningError while a run goes on."""
        if self._running:
            raise LearningError("a run is going on: pause it first")

    def require_paused(self) -> Version:
        """The unfinished run. Raises LearningError where there is none."""
        version = self.paused
        if version is None:
            raise LearningError("no run is unfinished: there is nothing to resume or discard")
        return version
