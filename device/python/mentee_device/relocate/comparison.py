"""The new base, and the mentees that can be made from it by what was learnt on the old one: the best of them by score.

Axes: N samples, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mentee_device.bundle.errors import BundleError
from mentee_device.core.backends.choose import read_values
from mentee_device.core.learner import Learner
from mentee_device.core.snapshot import Snapshot
from mentee_device.core.step import LearningError
from mentee_device.relocate import candidates
from mentee_device.relocate.candidates import Judge, Score
from mentee_device.relocate.samples import MigratedSamples
from mentee_device.runs.judgement import right
from mentee_device.runs.plans.budget import Budget
from mentee_device.runs.plans.plan import STEPS, ResolvedPlan
from mentee_device.runs.plans.settings import read_settings
from mentee_device.runs.replay import Answered, answered, own_answers
from mentee_device.runs.run import Done, OnProgress
from mentee_device.state.about import About
from mentee_device.state.base import Base
from mentee_device.state.storage.database import Damaged, StateError
from mentee_device.state.storage.store import Store
from mentee_device.state.versions import Version, Versions


@dataclass(frozen=True)
class Candidate:
    """A mentee of the new base that could become current, and the samples that taught it."""

    name: str
    snapshot: Snapshot
    learned: tuple[int, ...]
    plan: ResolvedPlan
    done: Done
    score: Score


class Comparison:
    """Compares what was learnt on `old`, as candidates for `bundle`. `fresh` stays at the new base, `learner` is worked with."""

    def __init__(
        self,
        store: Store,
        old: Base,
        samples: MigratedSamples,
        fresh: Learner,
        learner: Learner,
        budget: Budget | None,
        on_progress: OnProgress | None,
    ) -> None:
        self._old, self._samples, self._manifest = old, samples, fresh.bundle.manifest
        self._fresh, self._learner, self._budget, self._on_progress = fresh, learner, budget, on_progress
        self._versions = Versions(store)
        self._lineage = self._versions.lineage(self._versions.current)
        self._learned = {number for version in self._lineage for number in version.learned}
        self._settings = read_settings(store)
        self._judge = Judge(fresh, self._settings.limits())
        self._unlabelled: list[About] = []  # that what was learnt had guessed
        self._replayed: Answered | None = None
        self.scores: dict[str, Score] = {}

    def decide(self) -> tuple[Candidate | None, str]:
        """The winner, None for the new base as it is, and why: the rule stands in docs/device.md."""
        if not self._lineage:
            return None, "nothing had been learnt on the old base, so the new one is taken as it is"
        tried = {number for version in self._versions.all() if _was_judged(version) for number in version.learned}
        undone = tried - self._learned  # dropped by the guard, or the owner went back: not to be learnt by another door
        fitting = [item.about for item in self._samples.items if item.fits and item.about.number not in undone]
        labelled = [one for one in fitting if one.label >= 0]
        self._unlabelled = [one for one in fitting if one.label < 0 and one.number in self._learned]
        held = candidates.hold_out(labelled, self._learned)
        unseen = bool(held) and not held & self._learned
        judged = held or {one.number for one in labelled}
        self._owner, _ = self._samples.read(judged)
        self._before_N = right(self._fresh, self._owner) if unseen else None
        self.scores["base"] = self._judge.score(self._fresh, self._owner)
        words = [f"new base: {self.scores['base']}"]
        found = []
        for name, make in (("replay", self._replay), ("delta", self._delta)):
            try:
                candidate = make(labelled, held, unseen)
            except (LearningError, StateError, BundleError) as error:
                words.append(f"{name}: not possible, {error}")
                continue
            self.scores[name] = candidate.score
            no_gain = "" if self._beats(candidate.score) else "no better than the new base"
            against = "; ".join(candidate.score.reasons) or no_gain
            words.append(f"{name}: {candidate.score}" + (f", refused: {against}" if against else ""))
            if not against:
                found.append(candidate)
        best = max(found, key=lambda candidate: candidate.score.rank, default=None)
        how = f"on {len(self._owner)} samples of the owner" + ("" if unseen else ", which the old mentee had learnt")
        how += self._replayed.why if self._replayed else ""
        return best, f"{best.name if best else 'the new base'} is taken ({', '.join(words)}; {how})"

    def _beats(self, score: Score) -> bool:
        return score.owner is None or score.rank > self.scores["base"].rank

    def _replay(self, labelled: Sequence[About], held: set[int], unseen: bool) -> Candidate:
        """The ordinary run on the new base, judged without what is held out, then done again with all."""
        if not labelled and not self._unlabelled:
            raise LearningError("no stored sample has a label that the new base knows")
        part = self._run([one for one in labelled if one.number not in held])
        if not held or part.score.reasons or not self._beats(part.score):
            return part
        whole = self._run(labelled, held_out=False)
        if whole.score.reasons:
            return part
        return replace(whole, score=part.score) if unseen else whole

    def _run(self, labelled: Sequence[About], held_out: bool = True) -> Candidate:
        numbers = sorted(one.number for one in [*labelled, *self._unlabelled])
        unlabelled = tuple(one.number for one in self._unlabelled)
        plan = replace(_plan(self._lineage, numbers, self._budget), unlabelled=unlabelled)
        samples, weights = self._samples.read(set(plan.samples))
        self._learner.reset()
        if plan.replay_batch and self._replayed is None:
            self._replayed = answered(
                self._learner.supervision, plan.replay, lambda: own_answers(self._fresh).mentor_logits
            )
        done = candidates.replay(
            self._learner, plan, samples, weights, self._settings.knobs(), self._on_progress, self._replayed
        )
        return self._candidate("replay", plan, plan.samples, done, held_out)

    def _delta(self, labelled: Sequence[About], held: set[int], unseen: bool) -> Candidate:
        """Adds to the new base what learning had added to the old one. Moments begin anew."""
        try:
            snapshot = self._versions.snapshot(self._versions.current)
        except Damaged as damage:
            raise StateError(str(damage)) from damage
        manifest = self._manifest
        new = self._fresh.parameters()
        moved = candidates.transferred(
            new, manifest.classes, manifest.head, self._old, read_values(snapshot.checkpoint).parameters
        )
        if not moved:
            raise StateError("no parameter of the new base has the name and shape of one of the old base")
        self._learner.reset()
        self._learner.set_parameters(moved)
        self._learner.step = snapshot.step
        plan = _plan(self._lineage, sorted(self._learned), self._budget)
        return self._candidate("delta", plan, tuple(sorted(self._learned)), Done(_steps(self._lineage)))

    def _candidate(
        self, name: str, plan: ResolvedPlan, learned: tuple[int, ...], done: Done, held_out: bool = True
    ) -> Candidate:
        score = self._judge.score(self._learner, self._owner, self._before_N if held_out else None)
        return Candidate(name, self._learner.snapshot(), learned, plan, done, score)


def _was_judged(version: Version) -> bool:
    """False for an unfinished run, a damaged version, or one of an earlier base: nobody spoke against their samples."""
    return version.status in ("accepted", "pruned", "dropped") or bool(version.verdict.get("reasons"))


def _plan(lineage: Sequence[Version], samples: Sequence[int], budget: Budget | None) -> ResolvedPlan:
    """The plan of the newest run of `lineage`, over all samples, for the steps of all its runs."""
    budget = budget or Budget(steps=_steps(lineage))
    last = next((version.plan for version in lineage if version.plan), None)
    if last is None:
        return ResolvedPlan(samples=tuple(samples), budget=budget)
    return ResolvedPlan.from_json({**last, "samples": list(samples), "budget": budget.as_json(), "once": False})


def _steps(lineage: Sequence[Version]) -> int:
    return sum(int(version.progress.get("steps", 0)) for version in lineage) or STEPS
