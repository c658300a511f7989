"""Runs of learning on a state, one at a time: a candidate, saved as it goes, until the guard decides."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from mentee_device.bundle.samples import UNLABELLED, SampleError, Samples
from mentee_device.core.learner import Learner
from mentee_device.core.step import LearningError
from mentee_device.guard.golden import Golden, Verdict
from mentee_device.runs.current import go_to_current
from mentee_device.runs.holdout import HeldOut
from mentee_device.runs.interpolation import Parameters, judged
from mentee_device.runs.judgement import Before, judge_by
from mentee_device.runs.plans.plan import Plan, ResolvedPlan, require_plan
from mentee_device.runs.plans.settings import Settings
from mentee_device.runs.replay import remembered_answers
from mentee_device.runs.run import Done, OnProgress, Progress, Run
from mentee_device.state.device_state import DeviceState
from mentee_device.state.storage.database import Damaged, StateError
from mentee_device.state.versions import BASE, Version, unlabelled_in


@dataclass(frozen=True)
class RunResult:
    """The end of a run: version `number` was `accepted` and is current, `dropped`, or is `paused`; `why` says for what
    reason. `golden_base`, `golden_before` and `golden_after`: accuracies on the golden set, None where it was not asked.
    `first` and `last`: loss and terms of this call's first and last step; `milliseconds` of each step without saving.
    `share`: how much of what the run changed was taken, 1 but where the setting `interpolate` had it taken in part. `held_out`:
    what the run brought on the labels that it did not learn from, None where there were none or it is paused. `evidence`: what
    the guard heard besides the golden set, in words."""

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
    held_out: HeldOut | None = None
    evidence: tuple[str, ...] = ()


class Runs:
    """The runs of `state`, on `learner`; `settings` gives the present ones, which may change in a run."""

    def __init__(self, state: DeviceState, learner: Learner, settings: Callable[[], Settings]) -> None:
        self.state, self.learner, self.settings = state, learner, settings
        self.golden = Golden(state)
        self._stop = threading.Event()
        self._running = False

    def begin(self, plan: Plan, on_progress: OnProgress | None) -> RunResult:
        """Runs `plan` to its verdict or a pause; for what it raises see `Owner.learn`."""
        if self.paused is not None:
            raise LearningError(f"run {self.paused.name} is unfinished: resume or discard it first")
        require_plan(plan)
        whole = plan.resolved(self.settings(), self.state.samples.all(), self._learnt())
        self.golden.require()
        self._stop.clear()
        try:
            if plan.seed is not None:
                self.learner.seed(plan.seed)
            if plan.learning_rate is not None:
                self.learner.learning_rate = plan.learning_rate
            run = self._run(whole, Done())
            with self.state.store.transaction():
                start = self.learner.snapshot()
                number = self.state.versions.begin(
                    run.plan.as_json(), run.plan.samples, self.state.versions.current, start
                )
                self.state.store.record("run", f"v{number} begins on {run.describe()}", version=number)
            return self._go(number, run, on_progress)
        except BaseException:
            self.go_to_current()
            raise

    @property
    def paused(self) -> Version | None:
        """The unfinished run, of a `pause` or of a process that ended."""
        return None if self._running else self.state.versions.candidate()

    def stop(self) -> None:
        """Ends the present run after its step; from any thread."""
        self._stop.set()

    def resume(self, on_progress: OnProgress | None) -> RunResult:
        """Goes on from the unfinished run's last save."""
        version = self.require_paused()
        versions = self.state.versions
        self._stop.clear()
        try:
            self.learner.restore(versions.snapshot(version.number))
            plan = ResolvedPlan.from_json(version.plan)
            run = self._run(plan, Done(**version.progress), versions.guesses(version.number), version.number)
            return self._go(version.number, run, on_progress)
        except Damaged as damage:
            try:
                self.drop(version.number, str(damage))
            finally:
                self.go_to_current()
            raise Damaged(f"{damage}; run v{version.number} was dropped, v{versions.current} answers") from damage
        except BaseException:
            self.go_to_current()
            raise

    def _run(
        self, plan: ResolvedPlan, done: Done, guesses: Mapping[int, int] | None = None, number: int | None = None
    ) -> Run:
        """`guesses` and `number`: of a run that was under way; some of its samples may be gone by now, and a label that was given
        since to one that had none, or an answer of the mentor that came since, is for the next run."""
        if guesses is not None:
            plan, done = self._left(plan, done)
        samples, weights = self.state.samples.read(plan.samples)
        if len(samples) < len(plan.samples):  # a damaged one was found, and removed
            plan, done = self._left(plan, done)
        samples = replace(samples, labels=np.where(np.isin(plan.samples, plan.unlabelled), UNLABELLED, samples.labels))
        known = np.array([(guesses or {}).get(number, UNLABELLED) for number in plan.samples], np.int64)
        replay = remembered_answers(self.state, self.learner, plan.replay) if plan.replay_batch else None
        answers = self.state.answers.of(plan.samples, number)
        return Run(self.learner, plan, samples, weights, done, replay, known, answers)

    def _learnt(self) -> set[int]:
        """Samples whose label the present mentee has learnt from."""
        lineage = self.state.versions.lineage(self.state.versions.current)
        return {number for version in lineage for number in set(version.learned) - unlabelled_in(version)}

    def _left(self, plan: ResolvedPlan, done: Done) -> tuple[ResolvedPlan, Done]:
        """The plan and its progress without samples that are gone. Of a `once` run, which takes them in order, the gone ones
        that it had drawn no longer count."""
        stored = {one.number for one in self.state.samples.all()}
        left = replace(plan, samples=tuple(number for number in plan.samples if number in stored))
        if not plan.once:
            return left, done
        drawn = [number for number in plan.samples if number not in plan.unlabelled][: done.samples]
        return left, replace(done, samples=sum(number in stored for number in drawn))

    def _go(self, number: int, run: Run, on_progress: OnProgress | None) -> RunResult:
        self._running = True
        saved, due = self.learner.step, False
        try:
            while run.fraction < 1 and (self.learner.collecting or not self._stop.is_set()):
                started = time.perf_counter()
                try:
                    terms = run.step(self.settings().knobs())
                except (LearningError, SampleError) as error:
                    self.drop(number, str(error))
                    raise
                due = due or run.done.steps % run.plan.save_every == 0
                if due and run.fraction < 1 and not self.learner.collecting:
                    due = False
                    run.spend(time.perf_counter() - started)
                    started = time.perf_counter()
                    self._save(number, run)
                    saved = self.learner.step
                run.spend(time.perf_counter() - started)
                if on_progress is not None:
                    on_progress(Progress(run.done, run.fraction, terms, saved))
            self.learner.end_collecting()  # a step that the budget cut short
            if run.fraction < 1:
                return self._pause(number, run)
            try:
                return self._settle(number, run)
            except LearningError as error:  # the last step left parameters that answer nothing finite
                self.drop(number, str(error))
                raise
        finally:
            self._running = False

    def _save(self, number: int, run: Run) -> None:
        guessed = zip(run.plan.samples, run.guesses.tolist(), strict=True)
        guesses = {sample: label for sample, label in guessed if label >= 0}
        self.state.versions.save(number, self.learner.snapshot(), asdict(run.done), guesses)

    def _pause(self, number: int, run: Run) -> RunResult:
        with self.state.store.transaction():
            self._save(number, run)
            self.state.store.record("run", f"v{number} is paused after {run.done.steps} steps", version=number)
        self.go_to_current()
        return self._result(number, "paused", "", run, None)

    def _settle(self, number: int, run: Run) -> RunResult:
        versions, store, settings = self.state.versions, self.state.store, self.settings()
        current = versions.current
        before, start = self._before(number, run)
        judge = judge_by(self.golden, settings.limits(), before)
        verdict, share, against = judged(self.learner, start, judge, settings.interpolate)
        golden = f"golden accuracy {verdict.base.accuracy:.4f} of the base -> {verdict.candidate.accuracy:.4f}"
        golden = "; ".join([golden, *verdict.words])
        with store.transaction():
            versions.save(number, self.learner.snapshot(), asdict(run.done))
            if verdict.reasons:
                why = "; ".join(verdict.reasons)
                versions.settle(number, "dropped", why, verdict.as_json())
                line = f"v{number} was dropped after {run.done.steps} steps, v{current} stays: {why}"
                store.record("dropped", line, version=number, **verdict.as_json())
            else:
                why = golden if share == 1 else f"{golden}, {share:.0%} of the way, for all of it: {against}"
                versions.settle(number, "accepted", why, {**verdict.as_json(), "share": share})
                versions.make_current(number)
                versions.prune(self.settings().most_versions)
                line = f"v{number} is current after {run.done.steps} steps on {run.describe()}: {why}"
                store.record("accepted", line, version=number, **verdict.as_json())
        store.try_back_up()
        if verdict.reasons:
            self.go_to_current()
        result = self._result(number, "dropped" if verdict.reasons else "accepted", why, run, verdict, current)
        held = verdict.evidence.get("held_out")
        return replace(result, share=share, held_out=HeldOut(**held) if held else None, evidence=verdict.words)

    def _before(self, number: int, run: Run) -> tuple[Before | None, Parameters | None]:
        """The mentee that candidate `number` grew from: its answers on what judges the run, and its parameters; None where they
        are gone. The learner ends as it is."""
        end, parent = self.learner.snapshot(), self.state.versions.get(number).parent
        try:
            if parent == BASE:
                self.learner.reset()
            else:
                self.learner.restore(self.state.versions.snapshot(parent))
            return Before.of(self.learner, self._held(run.plan), run.samples), self.learner.parameters()
        except StateError:
            return None, None
        finally:
            self.learner.restore(end)

    def _held(self, plan: ResolvedPlan) -> Samples:
        """The samples that were held out, as far as they are there and have the owner's label."""
        there = {one.number for one in self.state.samples.all() if one.source == "owner" and one.label >= 0}
        return self.state.samples.read([number for number in plan.held if number in there])[0]

    def _result(
        self, number: int, status: str, why: str, run: Run, verdict: Verdict | None, before: int = BASE
    ) -> RunResult:
        base = verdict.base.accuracy if verdict else None
        stood = base if before == BASE else self.state.versions.get(before).golden_accuracy
        after = verdict.candidate.accuracy if verdict else None
        return RunResult(
            number=number,
            status=status,
            why=why,
            steps=run.done.steps,
            golden_base=base,
            golden_before=stood,
            golden_after=after,
            first=run.first,
            last=run.last,
            milliseconds=run.milliseconds,
        )

    def drop(self, number: int, why: str) -> None:
        """Settles a version that will not be current."""
        with self.state.store.transaction():
            self.state.versions.settle(number, "dropped", why)
            self.state.store.record("dropped", f"v{number} was dropped: {why}", version=number)

    def require_rest(self) -> None:
        """Raises LearningError while a run goes on, StateError where the folder is closed."""
        self.state.store.require_open()
        if self._running:
            raise LearningError("a run is going on: pause it first")

    def require_paused(self) -> Version:
        """The unfinished run. Raises LearningError where there is none."""
        version = self.paused
        if version is None:
            raise LearningError("no run is unfinished: there is nothing to resume or discard")
        return version

    # which version answers

    def go_to_current(self) -> None:
        """The learner becomes the version that answers."""
        go_to_current(self.state, self.learner)

    def roll_back(self, version: int | None) -> int:
        """Makes an accepted version current; for the rest see `Owner.roll_back`."""
        versions, store = self.state.versions, self.state.store
        current = versions.current
        if version is None:
            version = versions.newest_intact([one.number for one in versions.lineage(current)[1:]])
        elif version != BASE:
            if versions.get(version).status == "candidate":
                raise StateError(f"v{version} is unfinished: resume or discard it")
            versions.snapshot(version)  # before anything changes
        with store.transaction():
            if self.paused is not None:
                self.drop(self.paused.number, f"the owner went back to v{version}")
            versions.make_current(version)
            store.record("rollback", f"back from v{current} to v{version}", before=current, after=version)
        self.go_to_current()
        return version
