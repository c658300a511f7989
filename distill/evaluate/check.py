"""Answers a wrong setting of an evaluation before anything heavy is imported."""

from collections.abc import Sequence
from pathlib import Path

from distill.schema import EvaluateConfig
from mentee.checkpoint_file import require_checkpoint_file
from mentor_mentee.data.load import check_data
from mentor_mentee.data.reading.present import require_present
from mentor_mentee.errors import UserError

SPLITS = ("train", "val", "test")


def check_evaluation(config: EvaluateConfig) -> None:
    if config.split not in SPLITS:
        raise UserError(f"split={config.split}; expected one of {', '.join(SPLITS)}")
    if config.batch < 1:
        raise UserError(f"batch={config.batch}; expected 1 or more")
    if config.data:
        check_data(config.data)
        require_present(config.data)
    for name in ("checkpoint", "against"):
        given = getattr(config, name)
        each = given if isinstance(given, list) else [] if given is None else [given]
        if not all(isinstance(one, str) and one.strip() for one in each) or len(set(each)) < len(each):
            raise UserError(f"{name}={given}; expected a path or [path, path, …], none of them twice")
    if not paths_of(config.checkpoint):
        raise UserError("checkpoint=[] names no mentee; give the mentee.safetensors of one run or more")
    for path in (*paths_of(config.checkpoint), *paths_of(config.against)):
        require_checkpoint_file(path)


def paths_of(given: str | Sequence[str] | None) -> list[Path]:
    """A setting that is one path, several or none, as a list."""
    if given is None:
        return []
    return [Path(given)] if isinstance(given, str) else [Path(one) for one in given]
