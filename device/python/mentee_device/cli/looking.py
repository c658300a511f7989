"""The commands that look, ask and store, and learn nothing."""

import argparse
import json
from collections import Counter
from dataclasses import asdict

from mentee_device.bundle.archive import Bundle
from mentee_device.cli.asking import left
from mentee_device.cli.inputs import Report, open_owner, read_arrays, read_input, read_samples
from mentee_device.cli.output import MOST
from mentee_device.core.learner import Learner
from mentee_device.guard.answers import DONT_KNOW, answer
from mentee_device.owner import Owner
from mentee_device.runs.plans.settings import SettingError

TOP = 5  # classes of many samples that are counted


def info(given: argparse.Namespace, bundle: Bundle) -> Report:
    """Shows what the bundle is, and what the state holds."""
    manifest = bundle.manifest
    result: Report = {
        "bundle": manifest.id,
        "bytes": sum(entry.size for entry in manifest.files.values()),
        "classes": list(manifest.classes),
        "input": list(manifest.preprocessing.shape),
        "input_dtype": manifest.preprocessing.dtype,
        "mean": list(manifest.preprocessing.mean),
        "std": list(manifest.preprocessing.std),
        "parameters": manifest.parameters,
        "probes": {name: list(shape) for name, shape in manifest.probes.items()},
        "knobs": vars(manifest.knobs),
        "learning_rate": manifest.learning_rate,
        "base_accuracy": manifest.accuracy,
        "backends": list(manifest.backends),
    }
    if given.state:
        with open_owner(given, bundle) as owner:
            stored = owner.samples.all()
            result |= {
                "backend": owner.learner.backend,
                "state_step": owner.learner.step,
                "current": owner.versions.current,
                "versions_accepted": sum(version.status == "accepted" for version in owner.versions.all()),
                "unfinished_run": owner.paused.number if owner.paused else None,
                "samples": len(stored),
                "sample_bytes": sum(one.bytes for one in stored),
                "samples_by_source": dict(Counter(one.source for one in stored)),
                **left(owner),
                "last_event": [f"{one.time} {one.line}" for one in owner.log(1)],
            }
    return result


def predict(given: argparse.Namespace, bundle: Bundle) -> Report:
    """Gives class and probability of every sample of --data."""
    input = read_input(given.data, bundle)
    if given.state:
        with open_owner(given, bundle) as owner:
            answers = owner.predict(input)
            class_N, probability_N, classes = answers.classes, answers.probability, owner.classes
    else:
        with Learner(bundle, given.threads, given.backend) as learner:
            class_N, probability_N = answer(learner.predict(input).logits, bundle.manifest.unnamed)
            classes = bundle.manifest.classes
    names = ["don't know" if one == DONT_KNOW else classes[one] for one in class_N]
    report: Report = {"classes": names, "probability": [round(float(value), 4) for value in probability_N]}
    if not given.json and len(names) > MOST:
        counts = Counter(names).most_common(TOP)
        report["most"] = [f"{name} ×{count}" for name, count in counts]
    return report


def evaluate(given: argparse.Namespace, bundle: Bundle) -> Report:
    """Measures the accuracy on --data, or on the golden set where none is given."""
    with open_owner(given, bundle) if given.state else Learner(bundle, given.threads, given.backend) as mentee:
        step = mentee.learner.step if isinstance(mentee, Owner) else mentee.step
        if not given.data:
            return {"golden_accuracy": mentee.evaluate_golden(), "step": step}
        input, (labels,) = read_input(given.data, bundle), read_arrays(given.data, ("labels",))
        return {"accuracy": mentee.evaluate(input, labels), "samples": len(labels), "step": step}


def add(given: argparse.Namespace, bundle: Bundle) -> Report:
    """Stores the samples of --data without learning from them yet."""
    samples = read_samples(given.data, bundle)
    with open_owner(given, bundle, new=True) as owner:
        numbers = owner.add(samples, given.source, given.weight)
        return {"added": numbers, "samples": len(owner.samples.all())}


def versions(given: argparse.Namespace, bundle: Bundle) -> Report:
    """Lists every version: what became of it and why. `*` marks the one that answers, v0 is the base."""
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
    """Shows what was learnt when, and why it was accepted or dropped; the last 20 lines, or --last."""
    with open_owner(given, bundle) as owner:
        entries = owner.log(given.last)
    if given.json:
        return {"log": [asdict(entry) for entry in entries]}
    return {f"{entry.number} {entry.time}": entry.line for entry in entries}


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
