"""The commands that bring a state to another base or to another device."""

import argparse
from typing import Any

from mentee_device import carry
from mentee_device.budget import Budget
from mentee_device.bundle import Bundle
from mentee_device.commands import Report, read_key
from mentee_device.run import Watcher
from mentee_device.store import Store


def update(given: argparse.Namespace, bundle: Bundle, watch: Watcher | None = None) -> Report:
    """Moves the state to --bundle, a newer one, with what was learnt where that helps; the old bundle is not needed."""
    budget = Budget(steps=given.steps) if given.steps is not None else None
    with Store(given.state, None, read_key(given)) as store:
        for note in store.notes:
            given.say(note)
        found = carry.carry(store, bundle, given.threads, budget, watch)
    scores: dict[str, Any] = {name: vars(score) for name, score in found.scores.items()}
    return {"taken": found.taken, "current": found.number, "why": found.why, "scores": scores, "set_aside": found.aside}
