"""The commands that train nothing: classes by example, what is normal, and labels that were guessed."""

import argparse
from collections import Counter
from typing import Any

import numpy as np

from mentee_device.anomaly.normal import Watch
from mentee_device.bundle.archive import Bundle
from mentee_device.bundle.samples import UNLABELLED, SampleError, Samples, preprocess
from mentee_device.cli.commands import Report, open_owner, read_arrays
from mentee_device.labels.pseudo_labels import GUESSED
from mentee_device.prototypes.enrolment import UNKNOWN
from mentee_device.runs.run import Watcher


def enrol(given: argparse.Namespace, bundle: Bundle) -> Report:
    """Makes --data examples of the class --name, or removes a class with --remove; without either, lists them."""
    if (given.name is None) != (given.data is None):
        raise SampleError("--name says what --data holds examples of: give both or neither")
    input = read_arrays(given.data, ("input",))[0] if given.data else None
    if input is not None:
        preprocess(input, bundle.manifest)  # before a state is made for it
    with open_owner(given, bundle, new=input is not None) as owner:
        if given.clear:
            owner.enrolled.clear()
        removed = owner.enrolled.remove(given.remove) if given.remove is not None else []
        enrolled = owner.enrol(given.name, input) if input is not None else []
        counts = Counter(owner.enrolled.samples()[1].values())
        return {"enrolled": enrolled, "removed": removed, "samples": dict(counts)}


def recognise(given: argparse.Namespace, bundle: Bundle) -> Report:
    """Class of every sample of --data among the bundle's and the enrolled ones, with its probability and similarity."""
    input = read_arrays(given.data, ("input",))[0]
    with open_owner(given, bundle) as owner:
        found = owner.recognise(input, given.neighbours, given.floor)
    probability_N = found.probability_NC[np.arange(len(found.classes)), found.classes]
    return {
        "classes": ["don't know" if one == UNKNOWN else found.names[one] for one in found.classes],
        "probability": [
            round(float(p), 4) if one != UNKNOWN else None for one, p in zip(found.classes, probability_N, strict=True)
        ],
        "similarity": [round(float(value), 4) for value in found.similarity],
    }


def watch(given: argparse.Namespace, bundle: Bundle) -> Report:
    """While observing, takes --data in as normal; afterwards says which of its samples deviate."""
    settings: dict[str, Any] = {
        name: getattr(given, name)
        for name in ("samples", "seconds", "percentile", "capacity", "neighbours")
        if getattr(given, name) is not None
    }
    if settings and not given.start:
        raise SampleError(f"{', '.join(f'--{name}' for name in settings)} belong to a new watch: give --start as well")
    if given.seconds is not None:
        settings.setdefault("samples", None)
    new = Watch(**settings) if given.start else None
    input = read_arrays(given.data, ("input",))[0] if given.data else None
    if input is not None:
        preprocess(input, bundle.manifest)
    with open_owner(given, bundle, new=given.start) as owner:
        if new is not None:
            owner.watching.start(new)
        for chosen, act in ((given.freeze, owner.watching.freeze), (given.resume, owner.watching.resume)):
            if chosen:
                act()
        if given.stop:
            owner.watching.stop()
            return {"observing": False, "seen": 0, "kept": 0}
        taken = owner.observe(input) if input is not None and owner.watching.normal().observing else 0
        normal = owner.watching.normal()
        report: Report = {"observing": normal.observing, "taken": taken, "seen": normal.seen, "kept": len(normal)}
        if input is not None and not normal.observing and taken < len(input):
            judged = owner.anomaly(input[taken:])
            report |= {
                "threshold": judged.threshold,
                "anomalous": [taken + int(row) for row in np.flatnonzero(judged.anomalous)],
                "distance": [round(float(value), 6) for value in judged.distance],
            }
        return report


def guess(given: argparse.Namespace, bundle: Bundle) -> Report:
    """Guesses labels of kept samples that have none; first keeps --data, unlabelled, its `mentor_logits` the mentor's."""
    threshold = None if given.threshold > 1 else given.threshold
    samples = logits = None
    if given.data:
        input = read_arrays(given.data, ("input",))[0]
        samples = Samples(input, np.full(len(input), UNLABELLED, np.int64))
        preprocess(input, bundle.manifest)
        with np.load(given.data, allow_pickle=False) as archive:
            logits = archive.get("mentor_logits")
    with open_owner(given, bundle, new=samples is not None) as owner:
        if samples is not None:
            owner.add(samples, mentor_logits_NK=logits)
        new = owner.guess(
            threshold=threshold,
            adaptive=given.adaptive,
            mentor_threshold=given.mentor_threshold,
            pause=given.pause,
            window=given.window,
            near=given.near,
            rule=given.rule,
            weight=given.weight,
        )
        names = bundle.manifest.classes
        left = sum(one.label == UNLABELLED for one in owner.kept.all())
    if given.json:
        rows = [{**vars(one), "label": names[one.label]} for one in new]
        return {"guessed": rows, "unlabelled": left}
    return {
        "guessed": {source: sum(one.source == source for one in new) for source in GUESSED},
        **{f"sample {one.number}": f"{names[one.label]} {one.confidence:.3f} by {one.source}" for one in new},
        "unlabelled": left,
    }


def undo(given: argparse.Namespace, bundle: Bundle, watch: Watcher | None = None) -> Report:
    """Takes guessed labels back, and what they taught; the samples stay."""
    with open_owner(given, bundle) as owner:
        gone = owner.undo_guesses(given.samples, [given.source] if given.source else GUESSED, watch)
        return {
            "labels_undone": len(gone.samples),
            "versions_forgotten": gone.versions,
            "current": gone.current,
            "replay": f"{gone.replay.status}: {gone.replay.why}" if gone.replay else None,
        }
