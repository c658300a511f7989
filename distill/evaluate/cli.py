"""`mentee-evaluate checkpoint=runs/…/mentee.safetensors`: finished mentees and their mentor on one split."""

from typing import Any

from distill.evaluate.check import check_evaluation
from distill.schema import EvaluateConfig
from mentor_mentee.config.command_line import run_cli


def main() -> None:
    run_cli("evaluate", EvaluateConfig, check_evaluation, act)


def act(config: Any) -> None:
    from distill.evaluate.command import run_command  # torch takes seconds to import: only now

    run_command(config)


if __name__ == "__main__":
    main()
