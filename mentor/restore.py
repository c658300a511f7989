"""Builds a mentor again from what a mentee's checkpoint says of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.recipe import build
from data.view import View
from mentor.mentor import Mentor
from mentor.weights import load_weights
from objective.probes import Probe


def restore_mentor(about: Mapping[str, Any], probes: Sequence[Probe]) -> Mentor:
    """`about`: `{"network": recipe, "weights": path, "view": {"shape", "mean", "std"}}`. Raises `UserError` as those do."""
    network = build(about["network"], "the checkpoint's mentor")
    load_weights(network, Path(about["weights"]))
    return Mentor(network, View.restored(about["view"]), probes)
