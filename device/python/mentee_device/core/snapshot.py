"""Everything that learning has changed, as one value: taken from a `Learner`, stored in a version, put back into a `Learner`."""

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any


@dataclass(frozen=True)
class Snapshot:
    """`step` since the base, the optimizer's `learning_rate`, numpy `Generator` state, the backend's dump of all else."""

    bundle: str
    step: int
    learning_rate: float
    random: dict[str, Any]
    checkpoint: bytes

    def digest(self) -> str:
        """sha256 over all fields: SQLite notices a torn page, but not a flipped bit."""
        head = json.dumps([self.bundle, self.step, float(self.learning_rate).hex(), self.random], sort_keys=True)
        return sha256(head.encode() + b"\n" + self.checkpoint).hexdigest()
