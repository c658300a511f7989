"""Parameters that a device keeps for itself between rounds: its head, or under distillation the whole mentee.

They lie in the owner's state, sealed as it is, beside the versions: what answers the owner stays what the owner accepted.
"""

import json
from collections.abc import Iterable

from mentee_device import Owner
from safetensors import SafetensorError
from safetensors.numpy import load, save

from fleet.wire.arrays import Arrays

NAME = "fleet"


def read(owner: Owner, fleet: str) -> Arrays:
    """Those of `fleet` on the present base; none where a sample that taught them is gone: it may have been unlearnt."""
    content = owner.store.get(NAME)
    if content is None:
        return {}
    line, _, rest = content.partition(b"\n")
    try:
        head = json.loads(line)
        mine = (head["bundle"], head["fleet"]) == (owner.bundle.manifest.id, fleet)
        if not mine or set(head["learned"]) - {one.number for one in owner.samples.all()}:
            return {}
        return load(rest)
    except (ValueError, KeyError, TypeError, SafetensorError):
        return {}


def write(owner: Owner, fleet: str, arrays: Arrays, learned: Iterable[int]) -> None:
    """Replaces what was kept before, at once."""
    head = {"bundle": owner.bundle.manifest.id, "fleet": fleet, "learned": sorted(learned)}
    owner.store.put(NAME, json.dumps(head).encode() + b"\n" + save(dict(arrays)))
