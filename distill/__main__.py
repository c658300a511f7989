"""`python -m distill mentor=… mentee=… data=… schedule=obedient seed=1`, installed as `mentee-distill`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from distill.check import check_distill
from distill.schema import CHECKPOINT, DistillConfig
from mentor_mentee.config.command_line import run_cli


def main() -> None:
    run_cli("distill", DistillConfig, check_distill, act)


def act(config: Any) -> float:
    from distill.command import run_command  # torch and Lightning take seconds to import: only now

    return run_command(going_on(config))


def going_on(config: DistillConfig) -> DistillConfig:
    """In a sweep that is resumed a run that had not come to its first checkpoint begins."""
    sweep = HydraConfig.get().mode is RunMode.MULTIRUN
    return replace(config, resume=config.resume and not (sweep and not (Path(config.run_dir) / CHECKPOINT).is_file()))


if __name__ == "__main__":
    main()
