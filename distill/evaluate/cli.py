"""`mentee-evaluate checkpoint=runs/…/mentee.safetensors`: finished mentees and their mentor on one split."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill.schema import EvaluateConfig
from mentor_mentee.config.command_line import run_cli
from mentor_mentee.data.load import check_data
from mentor_mentee.errors import UserError

SPLITS = ("train", "val", "test")


def main() -> None:
    run_cli("evaluate", EvaluateConfig, check, act)


def check(config: EvaluateConfig) -> None:
    if config.split not in SPLITS:
        raise UserError(f"split={config.split}; expected one of {', '.join(SPLITS)}")
    if config.batch < 1:
        raise UserError(f"batch={config.batch}; expected 1 or more")
    if config.data:
        check_data(config.data)
    for name in ("checkpoint", "against"):
        given = getattr(config, name)
        each = given if isinstance(given, list) else [] if given is None else [given]
        if not all(isinstance(one, str) and one.strip() for one in each) or len(set(each)) < len(each):
            raise UserError(f"{name}={given}; expected a path or [path, path, …], none of them twice")
    if not paths_of(config.checkpoint):
        raise UserError("checkpoint=[] names no mentee; give the mentee.safetensors of one run or more")


def paths_of(given: str | Sequence[str] | None) -> list[Path]:
    """Of one path, of several, or of none."""
    if given is None:
        return []
    return [Path(given)] if isinstance(given, str) else [Path(one) for one in given]


def act(config: Any) -> None:
    from distill.evaluate.command import run_command  # torch takes seconds to import: only now

    run_command(config)


if __name__ == "__main__":
    main()
