"""The commands that bring a state to another base or to another device."""

import argparse
from typing import Any

from mentee_device.bundle.archive import Bundle
from mentee_device.cli.inputs import Report, open_owner, read_key
from mentee_device.folder import migrate_store
from mentee_device.relocate import state_file
from mentee_device.runs.plans.budget import Budget
from mentee_device.runs.run import OnProgress
from mentee_device.state.storage.store import Store


def migrate(given: argparse.Namespace, bundle: Bundle, on_progress: OnProgress | None = None) -> Report:
    """Moves the state to --bundle, a newer one, with what was learnt where that helps; the old bundle is not needed."""
    budget = Budget(steps=given.steps) if given.steps is not None else None
    with Store(given.state, None, read_key(given)) as store:
        for note in store.notes:
            given.say(note)
        found = migrate_store(store, bundle, given.threads, budget, on_progress, given.backend)
    scores: dict[str, Any] = {name: vars(score) for name, score in found.scores.items()}
    return {"taken": found.taken, "current": found.number, "why": found.why, "scores": scores, "set_aside": found.aside}


def export_state(given: argparse.Namespace, bundle: Bundle) -> Report:
    """Writes the whole state to FILE, encrypted where the state is, for another device of the same owner."""
    with open_owner(given, bundle) as owner:
        return {"file": given.file, "bytes": owner.export_state(given.file)}


def import_state(given: argparse.Namespace, bundle: Bundle) -> Report:
    """Makes --state, a new or empty folder, what FILE holds: learning goes on there as it would have on the other device."""
    key = read_key(given)
    state_file.import_state(given.file, given.state, bundle, key, replace=given.replace, backend=given.backend)
    with open_owner(given, bundle) as owner:
        return {"current": owner.versions.current, "step": owner.learner.step, "samples": len(owner.samples.all())}


def merge(given: argparse.Namespace, bundle: Bundle) -> Report:
    """Takes in what another device of this owner learnt and exported to FILE; the guard decides."""
    with open_owner(given, bundle) as owner:
        found = owner.merge(given.file)
    scores: dict[str, Any] = {name: vars(score) for name, score in found.scores.items()}
    return {
        "taken": found.taken,
        "current": found.number,
        "why": found.why,
        "scores": scores,
        "samples_came": found.samples,
        "relabelled": found.relabelled,
    }
