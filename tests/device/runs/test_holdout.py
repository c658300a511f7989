"""Labels that a run does not learn from: what it learns from, what they say, and what the guard makes of it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mentee_device import Budget, Bundle, Learner, Owner, Plan, Samples
from mentee_device.guard.measures import Limits
from mentee_device.runs.holdout import HeldOut
from mentee_device.runs.judgement import Before, Guessed, judge_by
from mentee_device.runs.run import Progress
from scipy.stats import binomtest

LESSON: dict[str, Any] = {"budget": Budget(steps=8), "learning_rate": 0.01, "seed": 5, "save_every": 3, "holdout": 0.25}


def owner_of(bundle: Bundle, folder: Path, mine: Samples) -> Owner:
    me = Owner(bundle, folder)
    me.set(golden_drop=1.0, rounds=0)
    me.add(mine)
    return me


def test_a_run_learns_from_the_rest_alone_and_says_what_it_brought_on_them(
    bundle: Bundle, mine: Samples, tmp_path: Path
) -> None:
    """Bit for bit as if they had never come; counts against the two mentees asked by hand."""
    with owner_of(bundle, tmp_path / "me", mine) as me:
        before = me.learner.predict(mine.input).logits.argmax(axis=1) == mine.labels
        result = me.learn(Plan(**LESSON))
        version = me.versions.get(result.number)
        rows = np.array(version.plan["held"]) - 1
        assert np.bincount(mine.labels[rows], minlength=10).tolist() == [1] * 10
        assert set(version.learned) == set(range(1, 41)) - set(version.plan["held"])
        after = me.learner.predict(mine.input).logits.argmax(axis=1) == mine.labels
        assert result.held_out == HeldOut.of(before[rows], after[rows])
        assert result.held_out.samples == 10
        assert version.verdict["held_out"] == asdict(result.held_out)
        assert str(result.held_out) in result.evidence
        assert str(result.held_out) in me.log(1)[0].line
        left = me.learner.snapshot()
        assert me.learn(Plan(**LESSON)).held_out.samples == 10  # type: ignore[union-attr]
        assert me.versions.get(2).plan["held"] == version.plan["held"]
        assert me.learn(Plan(**{**LESSON, "holdout": 0.75})).held_out.samples == 10  # type: ignore[union-attr]
    with owner_of(bundle, tmp_path / "never", mine.take(np.delete(np.arange(40), rows))) as never:
        never.learn(Plan(**{**LESSON, "holdout": 0.0}))
        assert never.learner.snapshot() == left


@pytest.mark.parametrize("stop", [1, 3, 7])
def test_a_run_that_was_paused_ends_with_the_same_verdict(
    bundle: Bundle, mine: Samples, tmp_path: Path, stop: int
) -> None:
    ends = []
    for at in (99, stop):
        with owner_of(bundle, tmp_path / str(at), mine) as me:

            def on_progress(progress: Progress, me: Owner = me, at: int = at) -> None:
                if progress.done.steps == at:
                    me.pause()

            result = me.learn(Plan(**LESSON), on_progress=on_progress)
            if result.status == "paused":
                assert result.held_out is None
                result = me.resume()
            ends.append((result.held_out, result.status, me.learner.snapshot()))
    assert ends[0] == ends[1]


def test_a_held_out_sample_that_is_unlearnt_judges_nothing_any_more(
    bundle: Bundle, mine: Samples, tmp_path: Path
) -> None:
    with owner_of(bundle, tmp_path / "me", mine) as me:
        me.learn(Plan(**LESSON), on_progress=lambda progress: me.pause() if progress.done.steps == 4 else None)
        held = me.versions.get(1).plan["held"]
        gone = me.unlearn(held[:3])
        assert (gone.versions, me.paused is None) == ([], False)
        resumed = me.resume()
        assert resumed.held_out is not None
        assert resumed.held_out.samples == 7


@pytest.fixture
def shifted(bundle: Bundle) -> Samples:
    """The golden set under what the base answers, each class moved by one."""
    golden = bundle.golden()
    with Learner(bundle) as base:
        return Samples(golden.input, (base.predict(golden.input).logits.argmax(axis=1) + 1) % 10)


@pytest.mark.parametrize("better", [True, False])
def test_the_guard_hears_the_owners_own_labels(bundle: Bundle, shifted: Samples, tmp_path: Path, better: bool) -> None:
    """Candidates that learnt the moved labels; held out are those, or the base's own answers."""
    held = shifted if better else Samples(shifted.input, (shifted.labels - 1) % 10)
    with Owner(bundle, tmp_path / "me") as me:
        before = Before.of(me.learner, held, shifted)
        assert before.held_N.mean() == (0.0 if better else 1.0)
        me.learner.learning_rate = 0.01
        me.learner.learn(shifted, 40, 32, 0)
        verdict = judge_by(me.runs.golden, Limits(golden_drop=1.0), before)(me.learner)
    found = HeldOut(**verdict.evidence["held_out"])
    assert (found.clearly_better, found.clearly_worse) == (better, not better)
    assert verdict.reasons == ([] if better else [f"worse for the owner, beyond chance: {found}"])


def test_guesses_that_the_groups_oppose_are_no_reason_to_answer_otherwise(
    bundle: Bundle, mine: Samples, tmp_path: Path
) -> None:
    """The same candidate, where its samples' groups say what it says, what was said before, and nothing."""
    unlabelled = Samples(mine.input, np.full(len(mine), -1))
    with Owner(bundle, tmp_path / "me") as me:
        now_N = me.learner.predict(mine.input).logits.argmax(axis=1)
        was_N = np.where(np.arange(40) < 12, (now_N + 1) % 10, now_N)
        for steady_N, counts in ((now_N, (12, 0)), (was_N, (0, 12)), (np.full(40, -1), (0, 0))):
            before = Before(mine.take(np.arange(0)), np.zeros(0, bool), unlabelled, np.arange(40), was_N, steady_N)
            verdict = judge_by(me.runs.golden, Limits(), before)(me.learner)
            guessed = verdict.evidence["guessed"]
            assert (guessed["samples"], guessed["changed"]) == (40, 12)
            assert (guessed["agreed"], guessed["opposed"]) == counts
            assert bool(verdict.reasons) == (counts == (0, 12))
            assert all("no evidence for its guesses: 12 of 40" in reason for reason in verdict.reasons)


def test_groups_oppose_where_a_coin_would_seldom_be_so_one_sided() -> None:
    for agreed in range(12):
        for opposed in range(16):
            tosses = agreed + opposed
            seldom = tosses and binomtest(opposed, tosses, 0.5, "greater").pvalue < 0.2
            assert Guessed(40, 20, agreed, opposed).opposes == (opposed > agreed and bool(seldom))


def test_what_is_clear_is_what_the_binomial_test_says() -> None:
    for better in range(12):
        for worse in range(12):
            counts = HeldOut(40, 20, 20 + better - worse, better, worse)
            tosses = better + worse
            for clear, heads in ((counts.clearly_better, better), (counts.clearly_worse, worse)):
                expected = 2 * heads > tosses and binomtest(heads, tosses, 0.5, "greater").pvalue < 0.05
                assert clear == expected, (better, worse)
