"""The commands that label samples which have no label, and take such labels back."""

import argparse

import numpy as np

from mentee_device.bundle.archive import Bundle
from mentee_device.bundle.samples import UNLABELLED, Samples
from mentee_device.cli.inputs import Report, open_owner, read_input
from mentee_device.cli.options import given_fields
from mentee_device.labels.assign import GuessRules
from mentee_device.labels.pseudo_labels import GUESSED
from mentee_device.runs.run import OnProgress


def guess(given: argparse.Namespace, bundle: Bundle) -> Report:
    """Guesses labels of stored samples that have none; first stores --data, unlabelled, its `mentor_logits` the mentor's."""
    asked = given_fields(given, GuessRules)
    if asked.get("threshold", 0) > 1:
        asked["threshold"] = None
    rules = GuessRules(**asked)
    samples = logits = None
    if given.data:
        input = read_input(given.data, bundle)
        samples = Samples(input, np.full(len(input), UNLABELLED, np.int64))
        with np.load(given.data, allow_pickle=False) as archive:
            logits = archive.get("mentor_logits")
    with open_owner(given, bundle, new=samples is not None) as owner:
        if samples is not None:
            owner.add(samples, mentor_logits_NK=logits)
        new = owner.guess(rules)
        names = owner.classes
        left = sum(one.label == UNLABELLED for one in owner.samples.all())
    if given.json:
        rows = [{**vars(one), "label": names[one.label]} for one in new]
        return {"guessed": rows, "unlabelled": left}
    return {
        "guessed": {source: sum(one.source == source for one in new) for source in GUESSED},
        **{f"sample {one.number}": f"{names[one.label]} {one.confidence:.3f} by {one.source}" for one in new},
        "unlabelled": left,
    }


def undo(given: argparse.Namespace, bundle: Bundle, on_progress: OnProgress | None = None) -> Report:
    """Takes guessed labels back, and what they taught; the samples stay."""
    with open_owner(given, bundle) as owner:
        gone = owner.undo_guesses(given.samples, [given.source] if given.source else GUESSED, on_progress=on_progress)
        return {
            "labels_undone": len(gone.samples),
            "versions_unlearned": gone.versions,
            "current": gone.current,
            "replay": f"{gone.replay.status}: {gone.replay.why}" if gone.replay else None,
        }
