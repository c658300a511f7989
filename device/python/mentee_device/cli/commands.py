"""What each command of the console program does: arguments in, a report out that prints as lines or as one JSON object."""

import argparse
import json
import statistics
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.archive import Bundle
from mentee_device.bundle.manifest import KNOBS
from mentee_device.bundle.samples import SampleError, Samples, check_labels, preprocess
from mentee_device.core.learner import Learner, LearningError, check_learning_rate
from mentee_device.owner import Owner
from mentee_device.runs.budget import Budget, be_nice
from mentee_device.runs.guard import DONT_KNOW, answer
from mentee_device.runs.replay import MENTOR
from mentee_device.runs.run import STEPS, Plan, Watcher
from mentee_device.runs.runs import Update
from mentee_device.runs.settings import SettingError, Settings
from mentee_device.state.database import StateError
from mentee_device.state.sample_store import About
from mentee_device.state.schema import MIGRATING

Report = dict[str, Any]


def info(given: argparse.Namespace, bundle: Bundle) -> Report:
    """What the bundle is, and what the state holds."""
    manifest = bundle.manifest
    result: Report = {
        "bundle": manifest.id,
        "bytes": sum(entry.size for entry in manifest.files.values()),
        "classes": list(manifest.classes),
        "input": list(manifest.preprocessing.shape),
        "parameters": manifest.parameters,
        "probes": {name: list(shape) for name, shape in manifest.probes.items()},
        "knobs": vars(manifest.knobs),
        "learning_rate": manifest.learning_rate,
        "base_accuracy": manifest.accuracy,
    }
    if given.state:
        with open_owner(given, bundle) as owner:
            kept = owner.kept.all()
            result |= {
                "state_step": owner.learner.step,
                "current": owner.versions.current,
                "versions_kept": sum(version.status == "kept" for version in owner.versions.all()),
                "unfinished_run": owner.paused.number if owner.paused else None,
                "samples": len(kept),
                "sample_bytes": sum(one.bytes for one in kept),
                "samples_by_source": dict(Counter(one.source for one in kept)),
                "last_event": [f"{one.time} {one.line}" for one in owner.log(1)],
            }
    return result


def predict(given: argparse.Namespace, bundle: Bundle) -> Report:
    """Class and probability of every sample of --data."""
    input = read_arrays(given.data, ("input",))[0]
    if given.state:
        with open_owner(given, bundle) as owner:
            answers = owner.predict(input)
            class_N, probability_N = answers.classes, answers.probability
    else:
        with Learner(bundle, given.threads) as learner:
            class_N, probability_N = answer(learner.predict(input).logits)
    names = ["don't know" if one == DONT_KNOW else bundle.manifest.classes[one] for one in class_N]
    return {"classes": names, "probability": [round(float(value), 4) for value in probability_N]}


def evaluate(given: argparse.Namespace, bundle: Bundle) -> Report:
    """Accuracy on --data, or on the golden set where none is given."""
    with open_owner(given, bundle) if given.state else Learner(bundle, given.threads) as mentee:
        step = mentee.learner.step if isinstance(mentee, Owner) else mentee.step
        if not given.data:
            return {"golden_accuracy": mentee.evaluate_golden(), "step": step}
        input, labels = read_arrays(given.data, ("input", "labels"))
        return {"accuracy": mentee.evaluate(input, labels), "samples": len(labels), "step": step}


def add(given: argparse.Namespace, bundle: Bundle) -> Report:
    """Keeps the samples of --data without learning from them yet."""
    samples = read_samples(given.data, bundle)
    with open_owner(given, bundle, new=True) as owner:
        numbers = owner.add(samples, given.source, given.weight)
        return {"added": numbers, "samples": len(owner.kept.all())}


def learn(given: argparse.Namespace, bundle: Bundle, watch: Watcher | None = None) -> Report:
    """Keeps --data, if any, then learns from all kept samples; the guard decides whether that stays."""
    options: Report = {
        "batch": given.batch,
        "replay_batch": given.replay_batch,
        "owner_weight": given.owner_weight,
        "guessed_batch": given.guessed_batch,
        "guess_weight": given.guess_weight,
        "save_every": given.save_every,
        "knobs": {name: getattr(given, name) for name in KNOBS if getattr(given, name) is not None},
    }
    bounds = ("steps", "seconds", "joules", "watts")
    budget = {name: getattr(given, name) for name in bounds if getattr(given, name) is not None}
    budget |= {"samples": given.budget_samples} if given.budget_samples is not None else {}
    whole = Budget(**budget) if budget else None
    new = not Path(given.state).exists()
    likely = given.replay or (
        Settings.replay if new else MENTOR
    )  # what an old state's setting says is known once it is open
    Plan((), Budget(steps=STEPS), **options, replay=likely, rounds=given.rounds or 0)  # before a sample is kept
    if given.learning_rate is not None:
        check_learning_rate(given.learning_rate)
    if given.resume and (given.discard or given.every):
        raise LearningError("--resume goes on with the run as it was begun: leave --discard and --every out")
    samples = read_samples(given.data, bundle) if given.data else None
    with open_owner(given, bundle, new=samples is not None) as owner:
        options["replay"] = owner.settings.replay if given.replay is None else given.replay
        options["rounds"] = owner.settings.rounds if given.rounds is None else given.rounds
        Plan((), Budget(steps=STEPS), **options)
        if given.discard:
            owner.discard()
        if given.resume == (owner.paused is None):
            paused = f"run v{owner.paused.number}" if owner.paused else "no run"
            raise LearningError(
                f"{paused} is unfinished: " + ("learn --resume, or --discard" if owner.paused else "leave --resume out")
            )
        known = samples.take(np.flatnonzero(samples.labels >= 0)) if samples is not None else None
        judged = known if known is not None and len(known) else None
        before = owner.evaluate(judged.input, judged.labels) if judged else None
        seed = given.seed if not owner.versions.all() else None
        options |= {"learning_rate": given.learning_rate, "seed": seed, "watch": watch}
        if given.nice:
            be_nice(given.nice)
        if given.resume:
            updates = [owner.resume(watch)]
        elif given.every:
            if samples is None:
                raise LearningError("--every learns from --data as it comes: give it")
            updates = owner.stream(samples, given.every, **options)
        else:
            if samples is not None:
                owner.add(samples)
            updates = [owner.learn(whole, **options)]
        after = owner.evaluate(judged.input, judged.labels) if judged else None
        return {
            **_of_updates(updates),
            "step": owner.learner.step,
            "accuracy_before": before,
            "accuracy_after": after,
        }


def _of_updates(updates: list[Update]) -> Report:
    if not updates:
        return {"steps": 0, "status": "waiting", "why": "too few new labelled samples: they are kept for the next time"}
    last = updates[-1]
    milliseconds = [value for update in updates for value in update.milliseconds]
    return {
        "steps": sum(update.steps for update in updates),
        "version": last.number,
        "status": ", ".join(update.status for update in updates),
        "why": last.why,
        "golden_before": updates[0].golden_before,
        "golden_after": last.golden_after,
        "first": updates[0].first,
        "last": last.last,
        "ms_per_step": round(statistics.median(milliseconds), 3) if milliseconds else None,
    }


def versions(given: argparse.Namespace, bundle: Bundle) -> Report:
    """Every version: what became of it and why. `*` marks the one that answers, v0 is the base."""
    with open_owner(given, bundle) as owner:
        current = owner.versions.current
        rows = [
            {
                "version": one.number,
                "current": one.number == current,
                "parent": one.parent,
                "status": one.status,
                "time": one.time,
                "step": one.step,
                "samples": len(one.learned),
                "why": one.why,
            }
            for one in owner.versions.all()
        ]
    if given.json:
        return {"current": current, "versions": rows}
    base = {f"v0{' *' if current == 0 else ''}": "the base"}
    return base | {
        f"v{row['version']}{' *' if row['current'] else ''}": (
            f"{row['status']}, from v{row['parent']}, step {row['step']}, {row['samples']} samples, {row['time']}: "
            f"{row['why']}"
        )
        for row in rows
    }


def log(given: argparse.Namespace, bundle: Bundle) -> Report:
    """What was learnt when, and why it was kept or dropped; the last 20 lines, or --last."""
    with open_owner(given, bundle) as owner:
        entries = owner.log(given.last)
    if given.json:
        return {"log": [asdict(entry) for entry in entries]}
    return {f"{entry.number} {entry.time}": entry.line for entry in entries}


def rollback(given: argparse.Namespace, bundle: Bundle) -> Report:
    """Makes an older version current: --to, or the one before the current."""
    with open_owner(given, bundle) as owner:
        before = owner.versions.current
        return {"before": before, "current": owner.roll_back(given.to), "step": owner.learner.step}


def reset(given: argparse.Namespace, bundle: Bundle) -> Report:
    """Makes the base current; samples, versions and log stay."""
    with open_owner(given, bundle) as owner:
        forgotten = owner.learner.step
        owner.reset()
        return {"step": owner.learner.step, "forgotten_steps": forgotten}


def forget(given: argparse.Namespace, bundle: Bundle, watch: Watcher | None = None) -> Report:
    """Removes samples and what they taught: by --samples, --source, --label, or --all."""
    classes = bundle.manifest.classes
    if given.label is not None and given.label not in classes:
        raise SampleError(f"no class {given.label!r}; there are {', '.join(classes[:20])}")
    label = classes.index(given.label) if given.label is not None else None
    if not (given.all or given.samples or given.source or given.label):
        raise SampleError("nothing to forget: give --samples, --source, --label or --all")

    def matching(one: About) -> bool:
        chosen = given.source is not None or label is not None
        by_source = given.source is None or one.source == given.source
        return bool(given.all) or (chosen and by_source and (label is None or one.label == label))

    with open_owner(given, bundle) as owner:
        gone = owner.forget(given.samples, matching, watch)
        return {
            "samples_forgotten": len(gone.samples),
            "versions_forgotten": gone.versions,
            "current": gone.current,
            "replay": f"{gone.replay.status}: {gone.replay.why}" if gone.replay else None,
        }


def settings(given: argparse.Namespace, bundle: Bundle) -> Report:
    """Shows the settings, after changing those of --set name=value (JSON; null for the default of a knob or limit)."""
    changes: Report = {}
    for text in given.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingError(f"--set {text!r}: expected name=value")
        try:
            changes[name] = json.loads(value)
        except ValueError:
            changes[name] = value.split(",") if name == "blocked" else value  # class names, as a person types them
    with open_owner(given, bundle, new=True) as owner:
        return asdict(owner.set(**changes))


def open_owner(given: argparse.Namespace, bundle: Bundle, new: bool = False) -> Owner:
    """The owner of --state; what was mended on opening goes to `given.say`."""
    place = Path(given.state)
    if not new and not place.exists() and not place.with_name(place.name + MIGRATING).exists():
        raise StateError(f"no state at {given.state}: `mentee-device learn --data …` creates one")
    owner = Owner(bundle, given.state, read_key(given), given.threads)
    say: Callable[[str], None] = given.say
    for note in owner.notes:
        say(note)
    return owner


def read_key(given: argparse.Namespace) -> bytes | None:
    """Of --key-file. Raises StateError."""
    if not given.key_file:
        return None
    try:
        return Path(given.key_file).read_bytes()
    except OSError as error:
        raise StateError(f"{given.key_file} cannot be read: {error.strerror}") from error


def read_samples(path: str, bundle: Bundle) -> Samples:
    """All of them fit the bundle, or SampleError before anything is kept."""
    input, labels = read_arrays(path, ("input", "labels"))
    if not input.size:
        raise SampleError(f"'{path}' holds no sample: expected at least one")
    preprocess(input, bundle.manifest)
    return Samples(input, check_labels(labels, len(input), bundle.manifest, unlabelled=True))


def read_arrays(path: str, names: tuple[str, ...]) -> list[NDArray[Any]]:
    """Arrays of an .npz. Raises SampleError."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [name for name in names if name not in archive]
            if missing:
                raise SampleError(f"{path} lacks {missing}, expected an .npz with {list(names)}")
            return [archive[name] for name in names]
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        if isinstance(error, SampleError):
            raise
        raise SampleError(f"{path} cannot be read as an .npz ({error})") from error
