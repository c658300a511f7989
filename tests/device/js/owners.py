"""A life of an owner's mentee under the Python program, for the TypeScript client to lead alike on stock graphs."""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from mentee_device import Budget, Bundle, GuessRules, Owner, Plan, Samples, Watch

OWN = 24
RUNS: list[tuple[dict[str, Any], dict[str, Any]]] = [  # settings before a run, and its plan
    ({}, {"steps": 25, "seed": 3, "holdout": 0.25}),
    ({"agreement_least": 0.99, "golden_drop": 0.0}, {"steps": 20, "seed": 1, "learning_rate": 0.05}),
    ({"agreement_least": None, "golden_drop": 0.05}, {"steps": 15, "knobs": {"beta": [[0, 1], [1, 0]], "gamma": 0.5}}),
    ({}, {"steps": 10, "replay": "mentor", "holdout": 0.5, "owner_weight": 2.0, "shift": 2}),
]
OPEN = slice(40, 56)
GUESSED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"golden_drop": 1.0}, {"steps": 24, "seed": 4, "rounds": 3, "guessed_batch": 5, "guess_weight": 0.5}),
    (
        {"golden_drop": 0.0, "agreement_least": 0.9, "interpolate": True},
        {"steps": 12, "rounds": 1, "learning_rate": 0.02},
    ),
    ({"golden_drop": 1.0, "agreement_least": None, "interpolate": False, "gamma": 2.0}, {"steps": 6}),
]
RULES: list[dict[str, Any]] = [
    {"threshold": 0.108, "adaptive": True},
    {"rule": "clusters", "weight": 0.5},
    {"threshold": 0.15, "pause": 1e6, "window": 3, "near": 0.05},
    {"threshold": None, "pause": 1e6},
]
UNLEARNED = ([30], [3, 5], [11])


def lived(bundle: Path) -> dict[str, Any]:
    """Decisions and figures after each run, then of enrolment and of going back."""
    with tempfile.TemporaryDirectory() as folder, Bundle.open(bundle) as base, Owner(base, Path(folder) / "me") as me:
        golden = base.golden()
        me.add(Samples(golden.input[:OWN], golden.labels[:OWN]))
        runs = [run(me, settings, plan) for settings, plan in RUNS]
        before = me.predict(golden.input).classes.tolist()
        me.add(Samples(golden.input[OPEN], np.full(OPEN.stop - OPEN.start, -1)))
        guessed = [run(me, settings, plan) for settings, plan in GUESSED]
        unlearned = [forgotten(me, samples) for samples in UNLEARNED]
        me.enrol("new", golden.input[70:73])
        me.enrol(base.manifest.classes[2], golden.input[60:61])
        recognised = me.recognise(golden.input, floor=0.2)
        back = [me.roll_back(), me.predict(golden.input).classes.tolist()]
        me.reset()
        return {
            "own": OWN,
            "runs": runs,
            "classes": before,
            "open": [OPEN.start, OPEN.stop],
            "guessed": guessed,
            "unlearned": unlearned,
            "recognised": recognised.classes.tolist(),
            "names": recognised.names,
            "back": back,
            "reset": me.predict(golden.input).classes.tolist(),
        }


def labelled(bundle: Path) -> dict[str, Any]:
    """One pass under a limit on the calibration error; then guesses by every rule, learnt from and taken back."""
    with tempfile.TemporaryDirectory() as folder, Bundle.open(bundle) as base, Owner(base, Path(folder) / "me") as me:
        golden = base.golden()
        some = Samples(golden.input[:OWN], np.where(np.arange(OWN) % 5, golden.labels[:OWN], -1))
        me.set(golden_drop=1.0, ece_rise=0.004, replay="mentor", rounds=0)
        passes = me.stream(some, 6, plan=Plan(batch=4, seed=5, learning_rate=0.02))
        told: dict[str, Any] = {"own": OWN, "streamed": [[one.status, one.why, one.last] for one in passes]}
        told["waiting"] = me.waiting()
        me.set(ece_rise=None)
        me.add(Samples(golden.input[OPEN], np.where(np.arange(16) % 7, -1, golden.labels[OPEN])))
        told |= {"open": [OPEN.start, OPEN.stop], "rules": []}
        for rules in RULES:
            found = me.guess(GuessRules(**rules))
            told["rules"].append({"given": rules, "found": [asdict(one) for one in found]})
            taken = me.undo_guesses() if rules != RULES[-1] else me.undo_guesses(sources=["near_miss"])
            assert taken.replay is None
        me.guess(GuessRules(rule="clusters"))
        me.learn(Plan(budget=Budget(steps=4), seed=2))
        told["standing"] = [asdict(one) for one in me.guesses()]
        gone = me.undo_guesses()
        assert gone.replay is not None
        told["undone"] = {"samples": gone.samples, "versions": gone.versions, "current": gone.current}
        told["replay"] = [gone.replay.status, gone.replay.why, gone.replay.steps]
        told["classes"] = me.predict(golden.input).classes.tolist()
        return told


def moved(bundle: Path, newer: Path) -> dict[str, Any]:
    """A state that migrates to another base with other classes; then a run there."""
    with tempfile.TemporaryDirectory() as folder, Bundle.open(bundle) as old, Bundle.open(newer) as new:
        place = Path(folder) / "me"
        with Owner(old, place, backend="stock") as me:
            golden = old.golden()
            me.set(golden_drop=1.0, blocked=["3"], replay="mentor", rounds=0)
            me.add(Samples(golden.input[:OWN], golden.labels[:OWN]))
            me.learn(Plan(budget=Budget(steps=20), seed=1, learning_rate=0.01))
            me.add(Samples(golden.input[OPEN], golden.labels[OPEN]))
            me.enrol("my cup", golden.input[70:72])
            me.observe(golden.input[:20], Watch(samples=10))
            found = me.migrate(new)
            input = golden.input[:40]
            settled = {
                "taken": found.taken,
                "number": found.number,
                "aside": found.aside,
                "scores": {name: vars(score) for name, score in found.scores.items()},
                "why": found.why.partition("; on ")[0],
                "statuses": [one.status for one in me.versions.all()],
                "samples": [[one.number, one.label] for one in me.samples.all()],
                "blocked": me.settings.blocked,
                "classes": me.predict(input).classes.tolist(),
            }
            done = me.learn(Plan(budget=Budget(steps=6)))
        return settled | {"own": OWN, "open": [OPEN.start, OPEN.stop], "last": done.last}


def merged(bundle: Path, place: Path) -> list[dict[str, Any]]:
    """A phone takes in what its owner's tablet learnt, tablet.state in `place`, under a guard that lets the average pass, then
    under one that does not."""
    told = []
    with tempfile.TemporaryDirectory() as folder, Bundle.open(bundle) as base:
        golden = base.golden()

        def device(name: str, start: int, end: int, steps: int) -> Owner:
            me = Owner(base, Path(folder) / name, backend="stock")
            me.set(golden_drop=1.0, rounds=0)
            me.add(golden.take(np.arange(start, end)))
            me.learn(Plan(budget=Budget(steps=steps), seed=2, learning_rate=0.01))
            return me

        with device("tablet", 10, 30, 5) as tablet:
            tablet.add(golden.take(np.arange(60, 64)))
            tablet.enrol("my cup", golden.input[70:72])
            tablet.export_state(place / "tablet.state")
        for name, limits in (("phone", {}), ("strict", {"agreement_least": 1.0})):
            with device(name, 0, 20, 3) as phone:
                phone.set(**limits)
                for _ in range(2):  # a file that was merged before changes nothing
                    found = phone.merge(place / "tablet.state")
                    scores = {name: vars(score) for name, score in found.scores.items()}
                    came = {"samples": found.samples, "relabelled": found.relabelled}
                    last = phone.versions.get(found.number)
                    told.append(
                        {
                            "limits": limits,
                            "taken": found.taken,
                            "number": found.number,
                            "scores": scores,
                            **came,
                            "parent": last.parent,
                            "learned": list(last.learned),
                            "why": found.why,
                            "classes": phone.predict(golden.input[:40]).classes.tolist(),
                            "enrolled": list(phone.enrolled.samples()[1].values()),
                        }
                    )
    return told


def run(me: Owner, settings: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    if settings:
        me.set(**settings)
    plan = {"rounds": 0} | {name: value for name, value in given.items() if name != "steps"}
    done = me.learn(Plan(budget=Budget(steps=given["steps"]), **plan))
    version = me.versions.get(done.number)
    return {
        "settings": settings,
        "plan": given,
        "number": done.number,
        "status": done.status,
        "why": done.why,
        "golden": [done.golden_base, done.golden_after],
        "held": version.plan["held"],
        "held_out": asdict(done.held_out) if done.held_out and done.held_out.samples else None,
        "first": done.first,
        "last": done.last,
        "share": done.share,
        "current": me.versions.current,
    }


def forgotten(me: Owner, samples: list[int]) -> dict[str, Any]:
    gone = me.unlearn(samples)
    return {
        "samples": gone.samples,
        "versions": gone.versions,
        "current": gone.current,
        "replay": None if gone.replay is None else [gone.replay.status, gone.replay.why, gone.replay.steps],
        "statuses": [one.status for one in me.versions.all()],
    }
