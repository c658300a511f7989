"""Two devices of one owner become one: parameters averaged, samples united, both logs joined; the guard decides.

What learning added to the base is averaged, each device's share weighed by how many samples it learnt from (as federated
averaging weighs its clients, arXiv 1602.05629, algorithm 1). Moments begin anew: they belong to the path that led to one
point, and the average is another point. Nothing is averaged where one device went on from what the other has: it has all,
and a file that was merged once brings nothing new. Axes: N samples.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.samples import SampleError, Samples
from mentee_device.core.learner import Learner
from mentee_device.core.snapshot import Snapshot
from mentee_device.core.step import LearningError
from mentee_device.prototypes.enrolled import Enrolled, enrolled_rows
from mentee_device.relocate.candidates import Judge, Parameters, Score
from mentee_device.relocate.state_file import opened, unpack_state
from mentee_device.runs.judgement import right
from mentee_device.runs.plans.budget import Budget
from mentee_device.runs.plans.plan import STEPS, ResolvedPlan
from mentee_device.runs.plans.settings import rename_blocked
from mentee_device.runs.runs import Runs
from mentee_device.state.about import SOURCES
from mentee_device.state.answers import delete_answers
from mentee_device.state.class_names import read_names, united, write_names
from mentee_device.state.device_state import DeviceState
from mentee_device.state.storage.database import Damaged, StateError
from mentee_device.state.storage.schema import MERGING
from mentee_device.state.storage.store import Entry, Store
from mentee_device.state.versions import BASE, IDENTITY, Version, identity_of, unlabelled_in

HOLDS = "holds"  # in a verdict: digests of another device's versions that this one has all of


@dataclass(frozen=True)
class Merged:
    """`taken` is merged, theirs (the other device's mentee) or mine; version `number` is current. `samples`: numbers of those
    that came, `relabelled` of those that took the other device's label."""

    taken: str
    number: int
    why: str
    scores: dict[str, Score]
    samples: list[int]
    relabelled: list[int]


def averaged(base: Parameters, mine: Parameters, theirs: Parameters, weight: float) -> dict[str, NDArray[np.float32]]:
    """base + weight · (mine − base) + (1 − weight) · (theirs − base), in float64."""
    return {
        name: (
            value.astype(np.float64)
            + weight * (mine[name].astype(np.float64) - value)
            + (1 - weight) * (theirs[name].astype(np.float64) - value)
        ).astype(np.float32)
        for name, value in base.items()
    }


def merge(runs: Runs, enrolled: Enrolled, path: str | os.PathLike[str]) -> Merged:
    """Takes in the state that another device exported to `path`: see the top. Raises StateError, LearningError; nothing is
    changed then."""
    if runs.paused is not None:
        raise LearningError(f"run {runs.paused.name} is unfinished: resume or discard it before a merge")
    runs.golden.require()
    store = runs.state.store
    folder = store.folder / MERGING
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(mode=0o700)
        with runs.state.base() as base:
            unpack_state(path, folder, base, store.seal.key)
        with opened(folder, path, store.bundle, store.seal.key) as other:
            merged = _Merge(runs, enrolled, other, Path(path).name).run()
    except OSError as error:
        raise StateError(f"{folder} cannot be used ({error.strerror}): is there space?") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    store.try_back_up()
    return merged


class _Merge:
    def __init__(self, runs: Runs, enrolled: Enrolled, other: Store, name: str) -> None:
        self._runs, self._enrolled = runs, enrolled
        self._mine = runs.state
        self._theirs = DeviceState.on(runs.state.bundle, other, runs.state.threads, runs.state.backend)
        self._name = name
        self._lineages = [one.versions.lineage(one.versions.current) for one in (self._mine, self._theirs)]
        self._ahead = False  # theirs grew from mine
        self._numbers: dict[int, int] = {}  # of their samples, by their number there
        self.scores: dict[str, Score] = {}

    def run(self) -> Merged:
        versions, store, settings = self._mine.versions, self._mine.store, self._runs.settings()
        try:
            with store.transaction():
                self._name_classes()
                came, relabelled = self._unite()
                self._take_answers()
                self._enrol()
                taken, snapshot, why = self._choose()
                number = versions.current if snapshot is None else self._make_current(taken, snapshot, why)
                gone = self._mine.samples.make_room(settings.most_samples, settings.most_sample_bytes)
                delete_answers(store, gone)
                self._join_logs()
                line = f"merged with {self._name}, v{number} is current: {why}; "
                line += f"{len(came)} samples came, {len(relabelled)} took its label"
                evicted = f", {len(gone)} others had to go" if gone else ""
                scores = {name: vars(score) for name, score in self.scores.items()}
                store.record("merge", line + evicted, taken=taken, version=number, scores=scores, came=came, went=gone)
        finally:
            self._runs.go_to_current()
        return Merged(taken, number, why, self.scores, came, relabelled)

    def _name_classes(self) -> None:
        mine = self._mine.manifest
        both = united(mine, mine.named(read_names(self._theirs.store)).names)
        if both.names != mine.names:
            write_names(self._mine.store, both)
            rename_blocked(self._mine.store, mine, both)

    def _choose(self) -> tuple[str, Snapshot | None, str]:
        """Decides what becomes current, None where nothing changes, and why."""
        mine, theirs = self._lineages
        if not theirs:
            return "mine", None, "the other device has learnt nothing"
        if identity_of(self._theirs.store, theirs[0]) in _known(self._mine.store, mine):
            return "mine", None, "this device has learnt all that the other has"
        try:
            snapshot = self._theirs.versions.snapshot(self._theirs.versions.current)
        except Damaged as damage:
            raise StateError(f"{self._name}: {damage}") from damage
        state = self._mine
        self._ahead = not mine or identity_of(state.store, mine[0]) in _known(self._theirs.store, theirs)
        with state.base() as base, state.base() as learner:
            judge, (judged, unseen) = Judge(base, self._runs.settings().limits()), self._judged()
            before_N = right(self._runs.learner, judged) if unseen else None
            learner.restore(snapshot)
            self.scores = {
                "mine": judge.score(self._runs.learner, judged),
                "theirs": judge.score(learner, judged, before_N),
            }
            if not self._ahead:
                mixed = self._mix(base, learner)
                self.scores["merged"] = judge.score(learner, judged, before_N)
                if not self.scores["merged"].reasons:
                    return "merged", mixed, self._words("merged", "the guard lets the average pass")
        reason = "it went on from what this device has"
        if not self._ahead:
            reason = f"the guard refuses the average ({'; '.join(self.scores['merged'].reasons)})"
        against = self.scores["theirs"].reasons
        if not against and (self._ahead or self.scores["theirs"].rank > self.scores["mine"].rank):
            return "theirs", snapshot, self._words("theirs", reason)
        return "mine", None, self._words("mine", reason + (f", and theirs ({'; '.join(against)})" if against else ""))

    def _mix(self, base: Learner, learner: Learner) -> Snapshot:
        """The average, in `learner`, which comes with theirs."""
        counts = [len({number for version in lineage for number in version.learned}) or 1 for lineage in self._lineages]
        start, theirs = base.parameters(), learner.parameters()
        steps = max(learner.step, self._runs.learner.step)
        learner.reset()
        learner.learning_rate = self._runs.learner.learning_rate
        learner.set_parameters(averaged(start, self._runs.learner.parameters(), theirs, counts[0] / sum(counts)))
        learner.step = steps
        return learner.snapshot()

    def _words(self, taken: str, reason: str) -> str:
        scores = ", ".join(f"{name}: {score}" for name, score in self.scores.items())
        return f"{taken} is taken, {reason} ({scores})"

    def _judged(self) -> tuple[Samples, bool]:
        """Samples to judge by: united ones that the owner labelled; if there are any, those that no device has learnt from, which
        is said."""
        labelled = [one for one in self._mine.samples.all() if one.source == "owner" and one.label >= 0]
        mine, theirs = ({number for version in lineage for number in version.learned} for lineage in self._lineages)
        learned = mine | {self._numbers[number] for number in theirs if number in self._numbers}
        unseen = [one.number for one in labelled if one.number not in learned]
        return self._mine.samples.read(unseen or [one.number for one in labelled])[0], bool(unseen)

    def _unite(self) -> tuple[list[int], list[int]]:
        """Samples by content. Of two labels the more trusted source's stays, of equals the newer sample's."""
        samples = self._mine.samples
        mine = {one.number: one for one in samples.all()}
        came, relabelled = [], []
        for one in self._theirs.samples.all():
            content = self._theirs.samples.content(one.number)
            if content is None:
                continue
            known = samples.find(content[0])
            if known is None:
                number = samples.add(Samples(content[0][None], np.array([one.label])), one.source, one.weight)[0]
                samples.put(replace(one, number=number), *content)
                came.append(number)
            else:
                number, here = known, mine[known]
                trust = SOURCES.index(one.source) - SOURCES.index(here.source)
                if trust < 0 or (trust == 0 and one.label != here.label and one.time > here.time):
                    samples.relabel(number, one.source, one.label, one.weight)
                    relabelled.append(number)
            self._numbers[one.number] = number
        return came, relabelled

    def _take_answers(self) -> None:
        """The mentor's answers that this device has not; what the other sent stays counted there."""
        newest = max((version.number for version in self._mine.versions.all()), default=BASE)
        known = self._mine.answers.numbers()
        for number in self._theirs.answers.numbers():
            here, answer = self._numbers.get(number), self._theirs.answers.get(number)
            if here is not None and here not in known and answer is not None:
                self._mine.answers.put(here, replace(answer, version=newest))

    def _enrol(self) -> None:
        theirs = enrolled_rows(self._theirs.store)
        if not theirs:
            return
        here, classes = self._enrolled.samples()
        known = {(name, row.tobytes()) for name, row in zip(classes.values(), here, strict=True)}
        for _, name, row in theirs:
            if (name, row.tobytes()) not in known:
                try:
                    self._enrolled.add(name, row[None])
                except SampleError as error:
                    self._mine.store.record("enrol", f"a sample of {name!r} did not come from {self._name}: {error}")

    def _make_current(self, taken: str, snapshot: Snapshot, why: str) -> int:
        """A version that learnt what theirs did, on top of mine or of the base, so that unlearning finds it."""
        versions, theirs = self._mine.versions, self._lineages[1]
        learned = {self._numbers[number] for version in theirs for number in version.learned if number in self._numbers}
        steps = sum(int(version.progress.get("steps", 0)) for version in theirs)
        by_label = {number for version in theirs for number in set(version.learned) - unlabelled_in(version)}
        unlabelled = learned - {self._numbers[number] for number in by_label if number in self._numbers}
        plan = _plan(theirs, tuple(sorted(learned)), tuple(sorted(unlabelled)))
        on_mine = taken == "merged" or self._ahead
        number = versions.begin(plan.as_json(), learned, versions.current if on_mine else BASE, snapshot)
        versions.save(number, snapshot, {"steps": steps, "seconds": 0.0, "samples": 0})
        accuracy = {"accuracy": self.scores[taken].golden}
        verdict: dict[str, Any] = {"update": accuracy, "reasons": [], HOLDS: sorted(_known(self._theirs.store, theirs))}
        if taken == "theirs":
            verdict[IDENTITY] = identity_of(self._theirs.store, theirs[0])
        versions.settle(number, "accepted", why, verdict)
        versions.make_current(number)
        versions.prune(self._runs.settings().most_versions)
        return number

    def _join_logs(self) -> None:
        """Lines of theirs that are not known here, each with the time it had there."""
        known = {_origin(entry) for entry in self._mine.store.log()}
        for entry in self._theirs.store.log():
            when, event, line = origin = _origin(entry)
            if origin not in known:
                details: Mapping[str, str] = {"time": when, "event": event, "line": line, "file": self._name}
                self._mine.store.record("elsewhere", f"on another device, {when}: {line}", merged=details)


def _known(store: Store, lineage: list[Version]) -> set[str]:
    """Digests of the versions of a lineage, and of those that were merged into them."""
    merged = {digest for version in lineage for digest in version.verdict.get(HOLDS, ())}
    return merged | {identity_of(store, version) for version in lineage}


def _origin(entry: Entry) -> tuple[str, str, str]:
    merged = entry.details.get("merged")
    return (merged["time"], merged["event"], merged["line"]) if merged else (entry.time, entry.event, entry.line)


def _plan(lineage: list[Version], samples: tuple[int, ...], unlabelled: tuple[int, ...]) -> ResolvedPlan:
    last = next((version.plan for version in lineage if version.plan), None)
    if last is None:
        return ResolvedPlan(samples=samples, budget=Budget(steps=STEPS), unlabelled=unlabelled)
    return ResolvedPlan.from_json({**last, "samples": samples, "once": False, "unlabelled": unlabelled})
