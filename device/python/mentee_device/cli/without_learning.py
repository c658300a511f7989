"""The commands that train nothing: classes by example, and what is normal."""

import argparse
from collections import Counter

import numpy as np

from mentee_device.anomaly.normal import Watch
from mentee_device.bundle.archive import Bundle
from mentee_device.bundle.samples import SampleError
from mentee_device.cli.inputs import Report, open_owner, read_input
from mentee_device.cli.options import given_fields
from mentee_device.prototypes.enrolment import UNKNOWN


def name_class(given: argparse.Namespace, bundle: Bundle) -> Report:
    """Gives a spare class of the bundle the name --name, and says its number, for labels; lists them without --name."""
    with open_owner(given, bundle, new=given.name is not None) as owner:
        if given.remove is not None:
            owner.remove_class(given.remove)
        number = None if given.name is None else owner.name_class(given.name, given.number)
        manifest = owner.bundle.manifest
        named = {manifest.classes[place]: place for place in range(len(manifest.taught), len(manifest.classes))}
        return {"number": number, "spare": named}


def enrol(given: argparse.Namespace, bundle: Bundle) -> Report:
    """Makes --data examples of the class --name, or removes a class with --remove; without either, lists them."""
    if (given.name is None) != (given.data is None):
        raise SampleError("--name says what --data holds examples of: give both or neither")
    input = read_input(given.data, bundle) if given.data else None
    with open_owner(given, bundle, new=input is not None) as owner:
        if given.clear:
            owner.enrolled.clear()
        removed = owner.enrolled.remove(given.remove) if given.remove is not None else []
        enrolled = owner.enrol(given.name, input) if input is not None else []
        counts = Counter(owner.enrolled.samples()[1].values())
        return {"enrolled": enrolled, "removed": removed, "samples": dict(counts)}


def recognise(given: argparse.Namespace, bundle: Bundle) -> Report:
    """Gives the class of every sample of --data among the bundle's and the enrolled ones, with its probability and similarity."""
    input = read_input(given.data, bundle)
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
    settings = given_fields(given, Watch)
    if settings and not given.start:
        raise SampleError(f"{', '.join(f'--{name}' for name in settings)} belong to a new watch: give --start as well")
    if given.seconds is not None:
        settings.setdefault("samples", None)
    new = Watch(**settings) if given.start else None
    input = read_input(given.data, bundle) if given.data else None
    with open_owner(given, bundle, new=given.start) as owner:
        if new is not None:
            owner.monitor.start(new)
        for chosen, act in ((given.freeze, owner.monitor.freeze), (given.resume, owner.monitor.resume)):
            if chosen:
                act()
        if given.stop:
            owner.monitor.stop()
            return {"observing": False, "seen": 0, "stored": 0}
        taken = owner.observe(input) if input is not None and owner.monitor.normal().observing else 0
        normal = owner.monitor.normal()
        report: Report = {"observing": normal.observing, "taken": taken, "seen": normal.seen, "stored": len(normal)}
        if input is not None and not normal.observing and taken < len(input):
            judged = owner.anomaly(input[taken:])
            report |= {
                "threshold": judged.threshold,
                "anomalous": [taken + int(row) for row in np.flatnonzero(judged.anomalous)],
                "distance": [round(float(value), 6) for value in judged.distance],
            }
        return report
