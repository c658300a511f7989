"""Unlearning: samples go, and what they taught: back to the newest version from before the first of them was learnt from, then
the runs since are done again without them, as one run, and the guard decides.

Deleted rows are overwritten in the database; the write-ahead log, the backup and damaged files set aside go with them.
"""

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from mentee_device.bundle.samples import UNLABELLED
from mentee_device.core.learner import Learner
from mentee_device.core.step import LearningError
from mentee_device.runs.plans.budget import Budget
from mentee_device.runs.plans.plan import ResolvedPlan
from mentee_device.runs.run import OnProgress
from mentee_device.runs.runs import RunResult, Runs
from mentee_device.state import aside
from mentee_device.state.about import About, sample_numbers
from mentee_device.state.device_state import DeviceState
from mentee_device.state.feature import Feature
from mentee_device.state.storage.database import StateError
from mentee_device.state.storage.schema import SCRUB
from mentee_device.state.versions import BASE, Version, unlabelled_in


@dataclass(frozen=True)
class Unlearned:
    """`samples` are gone, and so is what `versions` were; `current` answers now. `replay`: the run without the samples,
    None where nothing else had been learnt since."""

    samples: list[int]
    versions: list[int]
    current: int
    replay: RunResult | None


def chosen(
    state: DeviceState, samples: Collection[int] | None, matching: Callable[[About], bool] | None
) -> frozenset[int]:
    """Numbers of the samples that are named or match, those set aside among them. Raises StateError for one that never was,
    SampleError for what is no number."""
    stored = state.samples.all() + aside.abouts(state.store)
    known = {one.number for one in stored} | {number for version in state.versions.all() for number in version.learned}
    named = frozenset(() if samples is None else sample_numbers(samples))
    unknown = sorted(named - known)
    if unknown:
        raise StateError(f"no sample {unknown[0]}: it was never stored or learnt from, nothing was unlearned")
    return named | {one.number for one in stored if matching is not None and matching(one)}


def of_class(state: DeviceState, name: str) -> frozenset[int]:
    """Numbers of the samples whose label is the class `name`, those set aside among them."""
    classes, store = state.manifest.classes, state.store
    stored = {one.number for one in state.samples.all() if one.label >= 0 and classes[one.label] == name}
    found = ((number, aside.get(store, number)) for number in aside.numbers(store))
    return frozenset(stored | {number for number, one in found if one is not None and name and one.name == name})


def unlearn_samples(
    runs: Runs,
    features: Sequence[Feature],
    gone: Collection[int],
    on_progress: OnProgress | None,
    also: Callable[[], None] = lambda: None,
) -> Unlearned:
    """Removes the samples `gone`, whatever `features` keep of them, and what they taught; `also` is called in that transaction.
    They are gone when this returns or raises; a replay that was cut off waits in `Runs.paused`."""
    state = runs.state

    def remove() -> None:
        state.store.set(SCRUB, True)
        state.samples.delete(gone)
        aside.delete(state.store, gone)
        for feature in features:
            feature.on_unlearn(state.store, gone)
        also()

    return _without(runs, set(gone), "samples", remove, on_progress)


def unlearn_labels(runs: Runs, gone: Collection[int], on_progress: OnProgress | None) -> Unlearned:
    """Takes the labels of `gone`, and what they taught; the samples stay, unlabelled."""
    state = runs.state

    def remove() -> None:
        for number in set(gone) & {one.number for one in state.samples.all()}:
            state.samples.relabel(number, "none", UNLABELLED, 1.0)

    return _without(runs, set(gone), "labels", remove, on_progress)


def _without(
    runs: Runs, gone: set[int], what: str, remove: Callable[[], None], on_progress: OnProgress | None
) -> Unlearned:
    """`what` goes of the samples `gone`, by `remove`."""
    state = runs.state
    versions, store = state.versions, state.store
    tainted = _tainted(versions.all(), gone, by_label=what == "labels")
    lineage = versions.lineage(versions.current)
    root = versions.current
    again: list[Version] = []
    if any(version.number in tainted for version in lineage):
        root = versions.newest_intact([version.number for version in lineage if version.number not in tainted])
        again = [version for version in reversed(lineage) if version.number > root]
    left = {one.number: one.label for one in state.samples.all() if one.number not in gone}
    plan = _plan(again, left)
    with _all_or_nothing(), store.transaction():
        remove()
        for version in versions.all():
            if version.number in tainted and version.status in ("accepted", "candidate", "dropped", "pruned"):
                versions.settle(version.number, "unlearned", f"learnt from {what} that were unlearned")
        if again:
            versions.make_current(root)
        store.record(
            "unlearn", _line(gone, what, tainted, again, root, plan), samples=sorted(gone), versions=sorted(tainted)
        )
        if plan:
            if runs.paused is not None:  # begun on what is gone
                versions.settle(runs.paused.number, "dropped", "what it grew from was unlearned")
            with _start(runs, root) as start:
                versions.begin(plan.as_json(), plan.samples, root, start.snapshot())
    try:
        runs.go_to_current()
        if what == "samples":
            store.scrub()
        replay = runs.resume(on_progress) if plan else None
    except (StateError, LearningError) as error:
        waits = "; `learn --resume` learns the rest anew" if runs.paused is not None else ""
        raise StateError(
            f"{len(gone)} {what} are gone and v{versions.current} answers, but not all is done: {error}; copies in other "
            f"files go when the state is opened next{waits}"
        ) from error
    return Unlearned(sorted(gone), sorted(tainted), versions.current, replay)


@contextlib.contextmanager
def _all_or_nothing() -> Iterator[None]:
    try:
        yield
    except StateError as error:
        raise StateError(f"nothing was unlearned: {error}") from error


def _line(
    gone: Collection[int],
    what: str,
    tainted: Collection[int],
    again: list[Version],
    root: int,
    plan: ResolvedPlan | None,
) -> str:
    line = f"{len(gone)} {what} and {len(tainted)} versions that learnt from them were unlearned"
    if again:
        line += f", back to v{root}" + (", the rest follows" if plan else "")
    return line


def _tainted(versions: list[Version], gone: set[int], by_label: bool) -> set[int]:
    """Versions that learnt from `gone`, with `by_label` from labels that those had, and those that grew from one."""
    found: set[int] = set()
    for version in versions:  # parents come first
        learned = set(version.learned) - (unlabelled_in(version) if by_label else set())
        if gone & learned or version.parent in found:
            found.add(version.number)
    return found


def _plan(again: list[Version], left: dict[int, int]) -> ResolvedPlan | None:
    """The runs `again` as one, without what is gone; `left`: labels of the samples that stay, by number."""
    rest = sorted({number for version in again for number in version.learned} & left.keys())
    steps = sum(int(version.progress.get("steps", 0)) for version in again)
    if not rest or not steps:
        return None
    last = next(version for version in reversed(again) if version.plan)
    unlabelled = [number for number in rest if left[number] < 0]
    if len(unlabelled) == len(rest) and not last.plan.get("rounds"):
        return None  # nothing is left that such a run would draw
    changed = {"samples": rest, "unlabelled": unlabelled, "budget": Budget(steps=steps).as_json(), "once": False}
    return ResolvedPlan.from_json({**last.plan, **changed})


def _start(runs: Runs, root: int) -> Learner:
    learner = runs.state.base()
    if root != BASE:
        learner.restore(runs.state.versions.snapshot(root))
    learner.learning_rate = runs.learner.learning_rate
    return learner
