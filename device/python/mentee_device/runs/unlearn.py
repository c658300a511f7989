"""Forgetting samples and what they taught: back to the newest version from before the first of them was learnt from, then
the runs since are done again without them, as one run, and the guard decides.

Deleted rows are overwritten in the database; the write-ahead log, the backup and damaged files set aside go with them.
What they taught other parts through `Store.put` is those parts' to forget.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mentee_device.bundle.samples import UNLABELLED
from mentee_device.core.learner import Learner
from mentee_device.labels.pseudo_labels import drop_evidence
from mentee_device.runs.budget import Budget
from mentee_device.runs.run import Plan, Watcher
from mentee_device.state import aside
from mentee_device.state.database import StateError
from mentee_device.state.sample_store import About
from mentee_device.state.store import SCRUB
from mentee_device.state.versions import BASE, Version, unlabelled_in

if TYPE_CHECKING:
    from mentee_device.owner import Owner
    from mentee_device.runs.runs import Update


@dataclass(frozen=True)
class Forgotten:
    """`samples` are gone, and so is what `versions` were; `current` answers now. `replay`: the run without the samples,
    None where nothing else had been learnt since."""

    samples: list[int]
    versions: list[int]
    current: int
    replay: "Update | None"


def forget(
    owner: "Owner",
    samples: Collection[int] | None,
    matching: Callable[[About], bool] | None,
    watch: Watcher | None,
    unlabel: bool = False,
) -> Forgotten:
    """Those numbered and those that match; with `unlabel` they stay, and lose their labels alone. Deletion is done when
    this returns or raises later than StateError's "no sample"; a replay that was cut off waits in `Owner.paused`. Raises
    StateError."""
    gone = _chosen(owner, samples, matching)
    versions, store = owner.versions, owner.store
    tainted = _tainted(versions.all(), gone, unlabel)
    lineage = versions.lineage(versions.current)
    again: list[Version] = []
    if any(version.number in tainted for version in lineage):
        root = versions.newest_intact([version.number for version in lineage if version.number not in tainted])
        again = [version for version in reversed(lineage) if version.number > root]
    kept = {one.number: one.label for one in owner.kept.all() if one.number not in gone}
    plan = _plan(again, kept)
    with store.transaction():
        if unlabel:
            for number in gone & {one.number for one in owner.kept.all()}:
                owner.kept.relabel(number, "none", UNLABELLED, 1.0)
        else:
            store.set(SCRUB, True)
            owner.kept.delete(gone)
            aside.delete(store, gone)
            drop_evidence(store, gone)
        for version in versions.all():
            if version.number in tainted and version.status in ("kept", "candidate", "dropped", "pruned"):
                versions.settle(version.number, "forgotten", "learnt from samples that were forgotten")
        if again:
            versions.make_current(root)
        store.record(
            "forget",
            f"{len(gone)} {'labels' if unlabel else 'samples'} and {len(tainted)} versions that learnt from them were forgotten"
            + (f", back to v{root}" + (", the rest follows" if plan else "") if again else ""),
            samples=sorted(gone),
            versions=sorted(tainted),
        )
        if plan:
            if owner.paused is not None:  # begun on what is gone
                versions.settle(owner.paused.number, "dropped", "what it grew from was forgotten")
            start = _start(owner, root)
            versions.begin(plan.as_json(), plan.samples, root, start.snapshot())
            start.close()
    owner.runs.go_to_current()
    if not unlabel:
        store.scrub()
    replay = owner.resume(watch) if plan else None
    return Forgotten(sorted(gone), sorted(tainted), versions.current, replay)


def _chosen(owner: "Owner", samples: Collection[int] | None, matching: Callable[[About], bool] | None) -> set[int]:
    kept = owner.kept.all() + aside.abouts(owner.store)
    known = {one.number for one in kept} | {number for version in owner.versions.all() for number in version.learned}
    unknown = sorted(set(samples or ()) - known)
    if unknown:
        raise StateError(f"no sample {unknown[0]}: it was never kept or learnt from, nothing was forgotten")
    return set(samples or ()) | {one.number for one in kept if matching is not None and matching(one)}


def _tainted(versions: list[Version], gone: set[int], by_label: bool) -> set[int]:
    """Versions that learnt from `gone`, with `by_label` from labels that those had, and those that grew from one."""
    found: set[int] = set()
    for version in versions:  # parents come first
        learned = set(version.learned) - (unlabelled_in(version) if by_label else set())
        if gone & learned or version.parent in found:
            found.add(version.number)
    return found


def _plan(again: list[Version], kept: dict[int, int]) -> Plan | None:
    rest = sorted({number for version in again for number in version.learned} & kept.keys())
    steps = sum(int(version.progress.get("steps", 0)) for version in again)
    if not rest or not steps:
        return None
    last = next(version for version in reversed(again) if version.plan)
    unlabelled = [number for number in rest if kept[number] < 0]
    if len(unlabelled) == len(rest) and not last.plan.get("rounds"):
        return None  # nothing is left that such a run would draw
    changed = {"samples": rest, "unlabelled": unlabelled, "budget": Budget(steps=steps).as_json(), "once": False}
    return Plan.from_json({**last.plan, **changed})


def _start(owner: "Owner", root: int) -> Learner:
    learner = Learner(owner.bundle, owner.learner.threads)
    if root != BASE:
        learner.restore(owner.versions.snapshot(root))
    learner.learning_rate = owner.learner.learning_rate
    return learner
