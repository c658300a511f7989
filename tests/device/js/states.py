"""A whole state travels from the Python program to TypeScript and back, and what was done to it on the way is refused by both."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from mentee_device import Budget, Bundle, GuessRules, Owner, Plan, Samples, Watch, import_state
from mentee_device.state.answers import OnlineAnswer
from mentee_device.state.asked import Asked, write_asked

from benchmarks.crashes.mutants.exports import write_mutants

BUNDLE, STOCK = "nesterov", "stock"
KEY = bytes(range(32))
MUTANTS, SEED = 120, 1


def write_states(folder: Path) -> None:
    """Python.state, of an owner of whom there is something in every table, with a run that waits; keyed.state, the same under
    KEY; python.json, how the run ends; mutants/."""
    place = folder / "state"
    place.mkdir()
    with Bundle.open(folder / "stock" / BUNDLE) as bundle:
        with Owner(bundle, place / "home", backend=STOCK) as me:
            lived(me)
            me.export_state(place / "python.state")
            done = me.resume()
            end = {"last": done.last, "parameters": digest(me), "status": done.status, **seen(me)}
            end["watched"] = watched(me)
        write_mutants(bundle, place / "python.state", place / "mutants", MUTANTS, SEED)
        import_state(place / "python.state", place / "sealed", bundle, KEY)
        with Owner(bundle, place / "sealed", KEY, backend=STOCK) as me:
            paused, me_paused = me.paused, digest(me)
            assert paused is not None
            me.export_state(place / "keyed.state")
        (place / "python.json").write_text(json.dumps(end | {"current": me_paused, "steps": paused.progress["steps"]}))


def lived(me: Owner) -> None:
    golden = me.bundle.golden()
    labels = golden.labels[:24].copy()
    labels[::4] = -1
    me.set(golden_drop=1.0, blocked=["3"], beta=[[0, 1], [1, 0.5]], most_versions=2)
    logits = np.eye(10)[golden.labels[:24]].astype(np.float32)
    numbers = me.add(Samples(golden.input[:24], labels), mentor_logits_NK=logits)
    me.guess()
    me.undo_guesses(numbers[:1])
    asked(me, numbers[5:])
    me.learn(Plan(budget=Budget(steps=3), seed=5, holdout=0.3, rounds=0))
    me.learn(Plan(budget=Budget(steps=2), rounds=0))
    me.unlearn(numbers[-1:])
    me.enrol("my cup", golden.input[30:32])
    me.observe(golden.input[32:60], Watch(samples=40, capacity=10))
    me.add(Samples(golden.input[60:66], np.full(6, -1)))
    me.learn(Plan(budget=Budget(steps=8), rounds=2), on_progress=lambda at: me.pause() if at.done.steps == 5 else None)


def asked(me: Owner, numbers: list[int]) -> None:
    """Two of them were answered, two wait, one was refused."""
    random = np.random.default_rng(6)
    layers = me.bundle.manifest.probes.items()
    for number in numbers[:2]:
        logits = random.normal(0, 2, len(me.classes)).astype(np.float32)
        activations = {name: random.normal(0, 1, shape).astype(np.float16) for name, shape in layers}
        me.state.answers.put(number, OnlineAnswer(logits, activations, 1))
    at = "2026-01-31T23:59:59Z"
    left = {str(number): at for number in numbers[:3]}
    asked = Asked(
        tuple(numbers[2:4]), left, {str(numbers[4]): "not finite"}, sent=4, sent_bytes=1000, answered=2, last=at
    )
    write_asked(me.store, replace(asked, service="https://mentor.example", tries=1, not_before=1.5e9, why="busy"))


def digest(me: Owner) -> str:
    """The parameters that answer, in the order of the bundle's vector."""
    stock = me.bundle.manifest.stock
    assert stock is not None
    named = me.learner.parameters()
    return sha256(b"".join(named[part.name].astype("<f4").tobytes() for part in stock.parameters)).hexdigest()


def seen(me: Owner) -> dict[str, Any]:
    input = me.bundle.golden().input[:40]
    return {"classes": me.predict(input).classes.tolist(), "recognised": me.recognise(input).classes.tolist()}


def watched(me: Owner) -> dict[str, Any]:
    """The rest of the watch's period, and what deviates."""
    golden = me.bundle.golden()
    taken = me.observe(golden.input[10:40])
    judged = me.anomaly(golden.input[:40])
    return {"taken": taken, "threshold": judged.threshold, "anomalous": judged.anomalous.tolist()}


def come_back(folder: Path, written: Path) -> list[str]:
    """Differences between the state that TypeScript exported to `written`/js.state and what it says of that in js-state.json."""
    told = json.loads((written / "js-state.json").read_text())
    with Bundle.open(folder / "stock" / BUNDLE) as bundle:
        import_state(written / "js.state", written / "back", bundle, KEY if told["keyed"] else None)
        with Owner(bundle, written / "back", backend=STOCK, key=KEY if told["keyed"] else None) as me:
            found: dict[str, Any] = {"parameters": digest(me), "samples": [one.number for one in me.samples.all()]}
            found |= {"versions": [[one.number, one.status] for one in me.versions.all()], **seen(me)}
            done = me.learn(Plan(budget=Budget(steps=4), rounds=1))
            apart = max(abs(done.last[name] - value) for name, value in told["last"].items())
            answered = told["logits"][0]
            found["logits"] = [answered, np.ravel([me.samples.mentor_logits(number) for number in answered]).tolist()]
            guessed = me.guess(GuessRules(threshold=None), lambda input: input.reshape(len(input), -1)[:, 20:30])
            found["guessed"] = [[one.number, one.label, one.source] for one in guessed]
    wrong = [name for name, value in found.items() if told[name] != value]
    return wrong + ([f"losses by {apart}"] if not apart < 1e-5 else [])
