"""`python -m distill mentor=… mentee=… data=… schedule=obedient seed=1`, installed as `mentee-distill`."""

from typing import Any

from configs.cli import run_cli
from distill.check import check_distill
from distill.schema import DistillConfig


def main() -> None:
    run_cli("distill", DistillConfig, check_distill, act)


def act(config: Any) -> float:
    from distill.command import run_command  # torch and Lightning take seconds to import: only now

    return run_command(config)


if __name__ == "__main__":
    main()
