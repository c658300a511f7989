"""The record of a finished run beside its checkpoint: enough to average over seeds and to find its pair."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from distill.run_folder import RECORD
from mentor_mentee.errors import UserError


@dataclass(frozen=True)
class RunRecord:
    seed: int
    steps: int
    lone: bool  # β and γ are 0 throughout: no mentor taught it
    labelled: str  # fingerprint of the training samples that have a label
    labelled_samples: int
    unlabelled_samples: int
    test: str  # fingerprint of the test split
    val_accuracy: float | None
    scores: Mapping[str, float]  # `distill.evaluation.scores` on the test split
    mentor_scores: Mapping[str, float]
    parameters: int
    mentor_parameters: int
    config: Mapping[str, Any]  # all settings of the run
    shown: str = "last step"  # whose weights were tested: those, or of the best epoch

    @property
    def augmentation(self) -> Mapping[str, Any]:
        """The settings of the mentee's augmentation."""
        found: Mapping[str, Any] = self.config.get("trainer", {}).get("augment", {})
        return found

    @classmethod
    def load(cls, folder: Path) -> "RunRecord":
        """Raises `UserError` where the folder has none, or a damaged one."""
        path = folder / RECORD
        if not path.is_file():
            raise UserError(
                f"no {RECORD} in '{folder}', which says a run's seed, steps and data; it is written when a run ends: "
                "expected the folder of a finished run"
            )
        try:
            content = json.loads(path.read_bytes())
            return cls(
                **{field.name: content[field.name] for field in fields(cls) if needed(field) or field.name in content}
            )
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"'{path}' is not a whole {RECORD} ({error}); expected what a run left: run it again"
            ) from None


def needed(field: Field[Any]) -> bool:
    return field.default is MISSING


def settings(config: Any) -> dict[str, Any]:
    """All of a dataclass of settings as JSON would have it."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config), default=lambda value: value.value))  # of an Enum
    return plain
