"""`mentee-evaluate checkpoint=runs/…/mentee.safetensors`: a finished mentee and its mentor on one split."""

from typing import Any

from configs.cli import run_cli
from data.errors import UserError
from data.load import check_data
from distill.schema import EvaluateConfig

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


def act(config: Any) -> None:
    from distill.evaluate_command import run_command  # torch takes seconds to import: only now

    run_command(config)


if __name__ == "__main__":
    main()
