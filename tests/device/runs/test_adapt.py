"""A run's default: replay under whose answers are right, and rounds of guessing by clusters; against a loop driven by hand."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mentee_device import Budget, Bundle, GuessRules, Learner, LearningError, Owner, SampleError, Samples, Supervision
from mentee_device.guard.base_logits import REPLAY_LOGITS
from mentee_device.labels.pseudo_labels import CLUSTER_WEIGHT
from mentee_device.runs.clusters import clusters, shares
from mentee_device.runs.plans.plan import Plan, ResolvedPlan
from mentee_device.runs.plans.settings import SettingError
from mentee_device.runs.replay import answered, base_knows_more
from mentee_device.runs.run import Done, Progress, Run
from mentee_device.state.about import About
from numpy.typing import NDArray
from scipy.stats import binomtest

from tests.device.sealing import with_a_wrong_mentor

Array = NDArray[Any]
KNOBS = {"alpha": 1.0, "gamma": 1.0, "temperature": 4.0}
SHORT: dict[str, Any] = {"budget": Budget(steps=8), "learning_rate": 0.01, "seed": 5, "knobs": KNOBS, "save_every": 3}


@pytest.fixture
def samples(bundle: Bundle) -> Samples:
    """30 of the bundle's own, the first ten labelled."""
    golden = bundle.golden()
    return Samples(golden.input[:30], np.where(np.arange(30) < 10, golden.labels[:30], -1))


def owner_of(bundle: Bundle, folder: Path, samples: Samples, key: bytes | None = None) -> Owner:
    me = Owner(bundle, folder, key)
    me.set(golden_drop=1.0)
    me.add(samples)
    return me


def frozen(bundle: Bundle) -> Supervision:
    """The pack under what the bundle's inference graph answers before anything is learnt."""
    pack = bundle.supervision()
    with Learner(bundle) as base:
        return replace(pack, mentor_logits=base.predict(pack.samples.input).logits.astype(np.float16))


def steady(embedding: Array, means: Array, labels: Array) -> Array:
    """The classes that all eight halves agree on, by one call of `clusters` for each."""
    said, open_rows = np.flatnonzero(labels >= 0), np.flatnonzero(labels < 0)
    halves = [
        half for seed in range(4) for half in np.array_split(np.random.default_rng(seed).permutation(open_rows), 2)
    ]
    votes = [clusters(embedding, means, labels).argmax(axis=1)] + [
        clusters(embedding, means, labels, moving=np.r_[said, half]).argmax(axis=1) for half in halves
    ]
    return np.where((np.array(votes) == votes[0]).all(axis=0), votes[0], -1)


def by_hand(learner: Learner, samples: Samples, pack: Supervision, steps: int, rounds: int = 5) -> list[Array]:
    """The benchmark's loop, in the order in which `Run` draws; the guesses of each round."""
    labelled, open_rows = np.flatnonzero(samples.labels >= 0), np.flatnonzero(samples.labels < 0)
    everybody = pack.samples.take(np.flatnonzero(pack.samples.labels >= 0))
    parts, guesses = rounds + (1 if len(labelled) else 0), []
    for step in range(steps):
        if step % (steps // parts) == 0 and len(guesses) < rounds and (step or not len(labelled)):
            shown = learner.predict(everybody.input).embedding
            means = np.stack([shown[everybody.labels == label].mean(axis=0) for label in range(10)])
            embedding = learner.predict(samples.input).embedding
            guesses.append(steady(embedding, means, samples.labels)[open_rows])
        rows = learner.draw(labelled, 8) if len(labelled) else labelled
        labels = samples.labels[rows]
        if guesses:
            more = learner.draw(open_rows[guesses[-1] >= 0], 16)
            rows, labels = np.r_[rows, more], np.r_[labels, guesses[-1][more - open_rows[0]]]
        replay = pack.take(learner.draw(np.arange(len(pack)), 16))
        learner.learn_batch(Samples(samples.input[rows], labels), replay, owner_weight=4.0, beta=0.0, **KNOBS)
    return guesses


@pytest.mark.parametrize("k", [1, 0])
def test_the_default_run_is_the_benchmarks_arm(bundle: Bundle, samples: Samples, tmp_path: Path, k: int) -> None:
    """Bit for bit, with a label a class (12 steps in 6 parts) and with none (10 in 5)."""
    steps = 12 if k else 10
    given = samples if k else Samples(samples.input, np.full(30, -1))
    with owner_of(bundle, tmp_path / "me", given) as me, Learner(bundle) as learner:
        learner.seed(5)
        learner.learning_rate = 0.01
        guesses = by_hand(learner, given, bundle.supervision(), steps)
        assert len(guesses) == 5
        assert 0 < (guesses[0] < 0).sum() < len(guesses[0])  # some are left out, and not all
        result = me.learn(Plan(**{**SHORT, "budget": Budget(steps=steps)}))
        assert (result.status, result.steps) == ("accepted", steps)
        assert me.learner.snapshot() == learner.snapshot()
        assert [one.source for one in me.samples.all()] == ["owner" if k else "none"] * 10 + ["none"] * 20
        assert me.guesses() == []  # the run's own guesses are nobody's labels
        open_ones = 20 if k else 30
        assert f"{30 - open_ones} labelled samples and {open_ones} that have no label" in me.log(1)[0].line


def test_steps_by_default(bundle: Bundle, samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[ResolvedPlan] = []
    with owner_of(bundle, tmp_path / "me", samples) as me:
        monkeypatch.setattr(
            me.runs, "begin", lambda plan, *_: plans.append(plan.resolved(me.settings, me.samples.all()))
        )
        me.learn()
        me.learn(Plan(samples=range(11, 31)))
        me.learn(Plan(rounds=0))
        me.set(replay="mentor", rounds=0)
        me.learn(Plan(once=True))
    assert [plan.budget.steps for plan in plans] == [240, 200, 240, 240]
    assert [len(plan.samples) for plan in plans] == [30, 20, 10, 10]
    assert [(plan.replay, plan.rounds) for plan in plans] == [("auto", 5), ("auto", 5), ("auto", 0), ("mentor", 0)]
    assert (plans[0].batch, plans[0].guessed_batch, plans[0].replay_batch, plans[0].guess_weight) == (8, 16, 16, 1.0)


@pytest.fixture
def surpassing(bundle_folder: Path, tmp_path: Path) -> Bundle:
    """A bundle whose base is right on every replayed sample, and whose mentor on none."""
    return Bundle.open(with_a_wrong_mentor(Path(shutil.copytree(bundle_folder, tmp_path / "surpassing"))))


def test_a_base_that_surpasses_its_mentor_learns_under_its_own_answers(
    surpassing: Bundle, samples: Samples, tmp_path: Path
) -> None:
    """The bundle's beta counts where the run or the settings ask for it."""
    pack = frozen(surpassing)
    labelled = pack.samples.labels >= 0
    with owner_of(surpassing, tmp_path / "me", samples) as me, Learner(surpassing) as learner:
        assert surpassing.manifest.knobs.beta > 0
        mentor, base = (
            int((logits.argmax(axis=1) == pack.samples.labels)[labelled].sum())
            for logits in (surpassing.supervision().mentor_logits, pack.mentor_logits)
        )
        assert mentor < base
        learner.seed(5)
        learner.learning_rate = 0.01
        by_hand(learner, samples, pack, 12, rounds=0)
        me.learn(Plan(**{**SHORT, "budget": Budget(steps=12)}, rounds=0))
        assert me.learner.snapshot() == learner.snapshot()
        counts = f"of {labelled.sum()} with a label the mentor is right on {mentor}, the base on {base}"
        assert any(f"replay under the base's answers ({counts})" in entry.line for entry in me.log(5))


def test_where_beta_weighs_its_layers_the_mentor_answers(surpassing: Bundle, samples: Samples, tmp_path: Path) -> None:
    """β acts in those steps alone: of four, beta is 0 in the first two."""
    with owner_of(surpassing, tmp_path / "me", samples) as me, Learner(surpassing) as learner:
        rows, packs = np.arange(10), (frozen(surpassing), surpassing.supervision())
        learner.seed(5)
        learner.learning_rate = 0.01
        for step, beta in enumerate((0.0, 0.0, 0.2, 0.2)):
            mine = learner.draw(rows, 8)
            replay = packs[beta > 0].take(learner.draw(np.arange(len(packs[0])), 16))
            learner.learn_batch(samples.take(mine), replay, owner_weight=4.0, beta=beta, **KNOBS)
            assert learner.step == step + 1
        me.learn(
            Plan(budget=Budget(steps=4), rounds=0, learning_rate=0.01, seed=5, knobs=KNOBS),
            on_progress=lambda progress: me.set(beta=0.2) if progress.done.steps == 2 else None,
        )
        assert me.learner.snapshot() == learner.snapshot()
        assert any("replay under the base's answers" in entry.line for entry in me.log(9))


def test_a_beta_that_is_set_under_way_is_the_same_after_a_pause(
    bundle: Bundle, samples: Samples, tmp_path: Path
) -> None:
    snapshots = []
    for stop in (99, 4):
        with owner_of(bundle, tmp_path / str(stop), samples) as me:

            def on_progress(progress: Progress, me: Owner = me, stop: int = stop) -> None:
                if progress.done.steps == 3:
                    me.set(beta=1.0)
                if progress.done.steps == stop:
                    me.pause()

            result = me.learn(Plan(**SHORT), on_progress=on_progress)
            if stop == 4:
                assert result.status == "paused"
                me.resume()
            snapshots.append(me.learner.snapshot())
    assert snapshots[0] == snapshots[1]


@pytest.mark.parametrize("both", [0, 40])
@pytest.mark.parametrize("bases", [*range(8), 12, 21, 36])
@pytest.mark.parametrize("mentors", [0, 1, 2, 4, 20])
def test_the_base_knows_more_where_mcnemars_exact_test_says_so(both: int, mentors: int, bases: int) -> None:
    """`mentors` samples that it alone gets right, `bases` that the base alone does, one that has no label."""
    labels = np.r_[np.zeros(both + mentors + bases, np.int64), -1]
    right, wrong = np.array([2.0, 1.0], np.float16), np.array([1.0, 2.0], np.float16)
    mentor_N2 = np.stack([right] * (both + mentors) + [wrong] * (bases + 1))
    own_N2 = np.stack([right] * both + [wrong] * mentors + [right] * (bases + 1))
    pack = Supervision(Samples(np.zeros((len(labels), 1)), labels), mentor_N2, {})
    better, counts = base_knows_more(pack, own_N2)
    assert better == (bases > mentors and binomtest(bases, mentors + bases).pvalue < 0.05)
    total = both + mentors + bases
    if total:
        assert counts == f"of {total} with a label the mentor is right on {both + mentors}, the base on {both + bases}"
    else:
        assert counts == "none of them has a label"


def test_a_bundle_without_probes_has_no_layers_for_beta(bundle: Bundle) -> None:
    pack = replace(bundle.supervision(), activations={})
    own = frozen(bundle).mentor_logits
    found = answered(pack, "auto", lambda: own)
    np.testing.assert_array_equal(found.at(0.5).mentor_logits, pack.mentor_logits)
    assert found.at(0.5) is found.at(0.0)


def test_settings_that_nobody_named_go_with_the_programs_default(bundle: Bundle, tmp_path: Path) -> None:
    with Owner(bundle, tmp_path / "me") as me:
        me.set(golden_drop=0.1)
        me.set(replay="own")
        assert me.store.setting("settings") == {"golden_drop": 0.1, "replay": "own"}


def test_own_answers_are_the_bases_whatever_was_learnt_since(bundle: Bundle, samples: Samples, tmp_path: Path) -> None:
    with owner_of(bundle, tmp_path / "me", samples) as me:
        me.learn(Plan(**SHORT))
        name = f"{REPLAY_LOGITS.name} {bundle.manifest.id[:16]}"
        cached = np.frombuffer(me.store.get(name) or b"", np.float16)
        np.testing.assert_array_equal(cached, frozen(bundle).mentor_logits.ravel())
        assert (
            me.learner.predict(me.learner.supervision.samples.input).logits.astype(np.float16).ravel() != cached
        ).any()
        me.store.delete(name)
        before = me.learner.snapshot()
        me.learn(Plan(budget=Budget(steps=2)))  # asked again, of the base and not of the mentee
        assert me.store.get(name) == cached.tobytes()
        assert me.learner.snapshot() != before


def test_stopped_anywhere_and_resumed_equals_uninterrupted(bundle: Bundle, samples: Samples, tmp_path: Path) -> None:
    """Steps 2, 4 and 6 begin a round, whose guesses a later save has to hold; sealed, as labels are."""
    key, snapshots = bytes(range(32)), []
    for stops in ((), (1, 2, 3, 5, 7)):
        folder = tmp_path / str(len(stops))
        me = owner_of(bundle, folder, samples, key)

        def on_progress(progress: Progress, stops: tuple[int, ...] = stops) -> None:
            if progress.done.steps in stops:
                me.pause()  # noqa: B023  (the owner of now)

        result = me.learn(Plan(**SHORT), on_progress=on_progress)
        for stop in stops:
            assert (result.status, result.steps) == ("paused", stop)
            assert bool(me.versions.guesses(1)) == (stop > 2)
            me.close()  # another process goes on
            me = Owner(bundle, folder, key)
            result = me.resume(on_progress=on_progress)
        assert result.status == "accepted"
        assert me.versions.guesses(1) == {}
        snapshots.append(me.learner.snapshot())
        me.close()
    assert snapshots[0] == snapshots[1]


def test_what_the_guard_or_the_owner_drops_leaves_nothing(bundle: Bundle, samples: Samples, tmp_path: Path) -> None:
    with owner_of(bundle, tmp_path / "me", samples) as me:
        me.set(golden_drop=0.0, agreement_least=1.0)
        base, about = me.learner.snapshot(), me.samples.all()
        assert me.learn(Plan(**{**SHORT, "learning_rate": 0.1})).status == "dropped"
        assert me.learner.snapshot() == base
        me.learn(Plan(**SHORT), on_progress=lambda progress: me.pause() if progress.done.steps == 5 else None)
        assert 0 < len(me.versions.guesses(2)) <= 20
        me.discard()
        assert me.samples.all() == about
        assert [me.versions.guesses(number) for number in (1, 2)] == [{}, {}]
        blobs = [name for (name,) in me.store.rows("SELECT name FROM blobs")]
        assert not [name for name in blobs if name.startswith("guesses")]


def test_unlearning_covers_samples_without_a_label(bundle: Bundle, samples: Samples, tmp_path: Path) -> None:
    """Those that a run guessed taught it too; afterwards as if they had never come."""
    with owner_of(bundle, tmp_path / "me", samples) as me:
        me.learn(Plan(**SHORT))
        gone = me.unlearn([29, 30])
        assert (gone.versions, gone.current) == ([1], 2)
        assert me.versions.get(2).learned == tuple(range(1, 29))
        left = me.learner.snapshot()
    with owner_of(bundle, tmp_path / "never", samples.take(np.arange(28))) as never:
        never.learn(Plan(**{**SHORT, "seed": None}))
        assert never.learner.snapshot() == left


def test_a_paused_run_goes_on_without_samples_that_had_to_go(bundle: Bundle, samples: Samples, tmp_path: Path) -> None:
    with owner_of(bundle, tmp_path / "me", samples) as me:
        me.learn(Plan(**SHORT), on_progress=lambda progress: me.pause() if progress.done.steps == 5 else None)
        known = me.versions.guesses(1)
        me.samples.delete([12, 20])
        guesses: list[Any] = []
        result = me.resume(on_progress=lambda progress: guesses.append(progress.done.round) or None)
        assert (result.status, guesses) == ("accepted", [3, 4, 5])
        assert set(known) <= set(range(11, 31))
        assert known


def test_beta_has_no_target_under_own_answers(bundle: Bundle, samples: Samples, tmp_path: Path) -> None:
    with owner_of(bundle, tmp_path / "me", samples) as me:
        with pytest.raises(LearningError, match="set replay to 'auto' or 'mentor'"):
            me.learn(Plan(replay="own", knobs={"beta": [[0, 0], [1, 0.1]]}))
        me.set(replay="own")
        with pytest.raises(SettingError, match="set replay to 'auto' or 'mentor'"):
            me.set(beta=0.1)
        with pytest.raises(SettingError, match="own, mentor or auto"):
            me.set(replay="nobody")
        with pytest.raises(LearningError, match="own, mentor or auto"):
            me.learn(Plan(replay="nobody"))
        assert me.versions.all() == []
        me.set(beta=0.1, replay="mentor")
        assert me.learn(Plan(budget=Budget(steps=1), knobs={"beta": 0.2})).status == "accepted"


def test_plans_of_before_mean_what_they_meant() -> None:
    raw = {"samples": [1], "budget": {"steps": 3}, "knobs": {"beta": 0.2}, "replay_batch": 8}
    plan = ResolvedPlan.from_json(json.loads(json.dumps(raw)))
    assert (plan.replay, plan.rounds, plan.replay_batch) == ("mentor", 0, 8)
    assert (
        ResolvedPlan.from_json(
            json.loads(json.dumps(ResolvedPlan(samples=(1,), budget=Budget(steps=3)).as_json()))
        ).replay
        == "auto"
    )


def test_guesses_by_clusters_are_marked_and_undone(bundle: Bundle, samples: Samples, tmp_path: Path) -> None:
    everybody = bundle.supervision().samples
    everybody = everybody.take(np.flatnonzero(everybody.labels >= 0))
    with owner_of(bundle, tmp_path / "me", samples) as me:
        shown = me.learner.predict(everybody.input).embedding
        means = np.stack([shown[everybody.labels == label].mean(axis=0) for label in range(10)])
        share_NK = clusters(me.learner.predict(samples.input).embedding, means, samples.labels)
        new = me.guess(GuessRules(rule="clusters"))
        assert [(one.number, one.label, one.source) for one in new] == [
            (row + 1, int(share_NK[row].argmax()), "cluster") for row in range(10, 30)
        ]
        np.testing.assert_allclose([one.confidence for one in new], share_NK[10:].max(axis=1), atol=1e-5)

        def of(source: str) -> list[About]:
            return [one for one in me.samples.all() if one.source == source]

        assert {one.weight for one in of("cluster")} == {CLUSTER_WEIGHT}
        me.add(Samples(samples.input[10:11], np.array([3])))  # the owner's word replaces it
        assert len(of("cluster")) == 19
        assert len(me.undo_guesses(sources=["cluster"]).samples) == 19
        assert len(of("none")) == 19
        assert len(me.guess(GuessRules(rule="clusters", weight=0.5))) == 19
        assert {one.weight for one in of("cluster")} == {0.5}
        with pytest.raises(SampleError, match="no rule 'luck'"):
            me.guess(GuessRules(rule="luck"))


def test_a_class_without_replay_starts_from_the_owners_samples(bundle: Bundle, samples: Samples) -> None:
    with Learner(bundle) as learner:
        pack = learner.supervision
        embedding = learner.predict(samples.input).embedding
        hidden = np.where(pack.samples.labels == samples.labels[0], -1, pack.samples.labels)
        learner._supervision = replace(pack, samples=Samples(pack.samples.input, hidden))
        share_NK = shares(learner, embedding, samples.labels)
        assert share_NK is not None
        assert share_NK[0, samples.labels[0]] == 1.0
        nobody = np.full(30, -1)
        share_NK = shares(learner, embedding, nobody)
        assert share_NK is not None
        assert not share_NK[:, samples.labels[0]].any()
        np.testing.assert_allclose(share_NK.sum(axis=1), 1.0)
        learner._supervision = replace(pack, samples=Samples(pack.samples.input, np.full(len(pack), -1)))
        assert shares(learner, embedding, nobody) is None
        run = Run(
            learner,
            ResolvedPlan(samples=tuple(range(30)), budget=Budget(steps=3)),
            Samples(samples.input, nobody),
            np.ones(30),
            Done(),
        )
        with pytest.raises(LearningError, match="no two classes"):
            run.step({})


def test_undoing_a_guess_spares_a_run_of_before_it(bundle: Bundle, samples: Samples, tmp_path: Path) -> None:
    with owner_of(bundle, tmp_path / "me", samples) as me:
        me.learn(Plan(**SHORT))
        after = me.learner.snapshot()
        me.guess(GuessRules(rule="clusters"))
        assert (len(me.waiting()), len(me.undo_guesses().samples)) == (20, 20)
        assert (me.versions.current, me.learner.snapshot() == after) == (1, True)
        me.guess(GuessRules(rule="clusters"))
        me.learn(Plan(budget=Budget(steps=2)))
        assert me.undo_guesses().versions == [2]
