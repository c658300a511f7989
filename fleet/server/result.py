"""The file that a run leaves: what was averaged, and what a person or a release has to know of it.

Axes: N public samples, K classes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fleet.wire.errors import FleetError

FORMAT = "mentee-fleet/1"


@dataclass(frozen=True)
class FleetResult:
    """`arrays`: parameters by the bundle's names, or `logits` [N, K] and `answered` [N], whether the fleet was asked. `about`:
    mode, base, rounds and strategy of the run, ε where there is one, and a row of figures a round."""

    arrays: Mapping[str, NDArray[Any]]
    about: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Whole or not at all. Raises FleetError."""
        part = path.with_name(f".{path.name}.part")
        try:
            save_file(
                {name: np.ascontiguousarray(value) for name, value in self.arrays.items()},
                part,
                {FORMAT: json.dumps(self.about)},
            )
            part.replace(path)
        except OSError as error:
            raise FleetError(f"{path} cannot be written ({error.strerror}): choose another out") from error

    @classmethod
    def load(cls, path: Path) -> "FleetResult":
        """Raises FleetError for a file that is none of a fleet's run."""
        try:
            with safe_open(path, "np") as file:
                about = json.loads((file.metadata() or {})[FORMAT])
                return cls({name: file.get_tensor(name) for name in file.keys()}, about)  # noqa: SIM118 (not a dict)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise FleetError(
                f"{path} is not the file of a fleet's run ({str(error)[:120]}): expected what `out` named"
            ) from error
