"""Builds a mentor again from what a mentee's checkpoint says of it."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mentor.mentor import Mentor
from mentor.precisions import FULL
from mentor.weights.file import file_digest
from mentor.weights.load import load_weights
from mentor_mentee.data.views.view import View
from mentor_mentee.objective.classifier import build_classifier
from mentor_mentee.objective.probes import Probe
from mentor_mentee.recipe import recipe_identity


def restore_mentor(about: Mapping[str, Any], probes: Sequence[Probe]) -> Mentor:
    """`about`: `{"network": recipe, "weights": path, "sha256": of that file, "weights_at": place in it or None, "view":
    {"shape", "mean", "std"}, "precision": float32 where it is not there}`. Raises `UserError` as those do; a file that is not
    the one of then is a warning."""
    network = build_classifier(about["network"], "the checkpoint's mentor")
    path = Path(about["weights"])
    load_weights(network, path, at=about.get("weights_at"))
    if about.get("sha256", digest := file_digest(path)) != digest:
        warnings.warn(
            f"'{path}' is not the file that the mentee's mentor was read from: another mentor answers now", stacklevel=2
        )
    identity = recipe_identity(about["network"], "the checkpoint's mentor")
    return Mentor(network, View.restored(about["view"]), probes, identity, about.get("precision", FULL))
