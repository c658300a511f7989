"""An app update brings a new base, and the state migrates to it with what was learnt where that helps.

Up to two mentees of the new base are made from what was learnt on the old one (candidates.py), held against the new base
itself, and the best is taken. All of it is written in one transaction at the end: until then, through any crash, the state
belongs to the old bundle. Axes: N samples, K classes.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from mentee_device.bundle.archive import Bundle
from mentee_device.core.learner import Learner
from mentee_device.core.step import LearningError
from mentee_device.relocate.candidates import Score
from mentee_device.relocate.comparison import Candidate, Comparison
from mentee_device.relocate.samples import MigratedSamples
from mentee_device.runs.plans.budget import Budget
from mentee_device.runs.plans.settings import read_settings
from mentee_device.runs.run import OnProgress
from mentee_device.state import base
from mentee_device.state.base import Base
from mentee_device.state.class_names import carried
from mentee_device.state.feature import Feature, NewBase
from mentee_device.state.storage.database import StateError
from mentee_device.state.storage.store import Store
from mentee_device.state.versions import BASE, Versions


@dataclass(frozen=True)
class Migrated:
    """`taken` is replay, delta or base; version `number` is current, 0 where nothing learnt was taken. `scores` of all that
    was compared, `why` in words, `aside`: numbers of the samples that the new base cannot use."""

    taken: str
    number: int
    why: str
    scores: dict[str, Score]
    aside: list[int]


def migrate(
    store: Store,
    bundle: Bundle,
    features: Sequence[Feature],
    *,
    threads: int = 1,
    backend: str | None = None,
    budget: Budget | None = None,
    on_progress: OnProgress | None = None,
) -> Migrated:
    """Moves `store` to `bundle`, with the rows of `features`; replays for `budget`, by default as many steps as the current
    version has learnt for. The bundle of before is not needed.

    Raises StateError, LearningError, BundleError; nothing is changed then.
    """
    old = _old_base(store, bundle)
    bundle = bundle.named(carried(store, bundle.manifest))
    for feature in features:
        feature.check_new_base(store, old, bundle.manifest)
    if not len(bundle.golden()):
        raise LearningError("the new bundle's golden set is empty, so nothing can guard a run: export it with one")
    with Learner(bundle, threads, backend) as fresh, Learner(bundle, threads, backend) as learner:
        samples = MigratedSamples(store, old, bundle.manifest)
        comparison = Comparison(store, old, samples, fresh, learner, budget, on_progress)
        taken, why = comparison.decide()
        embedding_size = fresh.predict(bundle.golden().input[:1], checked=True).embedding.shape[1]
        with store.transaction():
            aside = _write(store, old, Base.of(bundle.manifest, fresh.parameters()), samples)
            change = NewBase(old, bundle.manifest, embedding_size, frozenset(aside))
            for feature in features:
                feature.on_new_base(store, change)
            number = BASE if taken is None else _make_current(store, taken, why)
            name = taken.name if taken else "base"
            lost = (
                f"; {len(aside)} samples are set aside: the new base has not their class, shape or dtype"
                if aside
                else ""
            )
            line = f"from base {old.bundle[:12]} to base {bundle.manifest.id[:12]}, v{number} is current: {why}{lost}"
            scores = {name: vars(score) for name, score in comparison.scores.items()}
            store.record("migrate", line, taken=name, version=number, scores=scores, aside=aside)
    store.bundle = bundle.manifest.id
    store.try_back_up()
    return Migrated(name, number, why, comparison.scores, aside)


def _old_base(store: Store, bundle: Bundle) -> Base:
    """The base that `store` is on. Raises StateError where it is that of `bundle`, or is not known."""
    if bundle.manifest.id == store.bundle:
        raise StateError(f"{store.folder} is on bundle {bundle.manifest.id[:12]}… already: there is nothing to migrate")
    old = base.read(store)
    if old is None:
        raise StateError(
            f"{store.folder} does not hold what its bundle {store.bundle[:12]}… was like: open it once with that bundle, "
            "then migrate"
        )
    return old


def _write(store: Store, old: Base, new: Base, samples: MigratedSamples) -> list[int]:
    """Samples, versions and base, in the caller's transaction; numbers of the samples that are set aside."""
    versions, settings = Versions(store), read_settings(store)
    for version in versions.all():
        if version.status in ("accepted", "candidate"):
            versions.settle(version.number, "superseded", "its base was replaced")
    with store.transaction() as connection:
        connection.execute("UPDATE state SET bundle = ?, current = ?", (new.bundle, BASE))
    aside = samples.write(settings.most_samples, settings.most_sample_bytes)
    base.replace_base(store, new)
    return aside


def _make_current(store: Store, taken: Candidate, why: str) -> int:
    versions = Versions(store)
    number = versions.begin(taken.plan.as_json(), taken.learned, BASE, taken.snapshot)
    versions.save(number, taken.snapshot, asdict(taken.done))
    verdict = {"update": {"accuracy": taken.score.golden}, "reasons": []}
    versions.settle(number, "accepted", why, verdict)
    versions.make_current(number)
    return number
