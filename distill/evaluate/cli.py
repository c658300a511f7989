"""`mentee-evaluate checkpoint=runs/…/mentee.safetensors`: finished mentees and their mentor on one split."""

from typing import Any

from mentor_mentee.interrupt import while_importing

USAGE = """\
mentee-evaluate checkpoint=FILE                     scores a finished mentee, and its mentor, on a split
mentee-evaluate checkpoint=[FILE,…] against=[FILE,…]   means over seeds, and differences paired by seed
"""


def main() -> None:
    with while_importing():
        from distill.evaluate.check import check_evaluation
        from distill.schema import EvaluateConfig
        from mentor_mentee.config.command_line import run_cli
        from mentor_mentee.data.load import BUDGET_OPTIONS

    run_cli("evaluate", EvaluateConfig, check_evaluation, act, USAGE, {"data": BUDGET_OPTIONS})


def act(config: Any) -> None:
    with while_importing():
        from distill.evaluate.command import run_command  # torch takes seconds to import: only now

    run_command(config)


if __name__ == "__main__":
    main()
