"""A run's configuration for a script or a notebook, composed and checked as the command line does it."""

from collections.abc import Sequence

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from distill.check import check_distill
from distill.schema import DistillConfig
from mentor_mentee.config.compose import compose as compose_config
from mentor_mentee.config.explain import in_one_line
from mentor_mentee.errors import UserError

RUN_DIR = f"run_dir={DistillConfig.run_dir}"  # the command line's default names Hydra's own job


def compose(overrides: Sequence[str] = ()) -> DistillConfig:
    """`compose(["data=mnist", "schedule=obedient", "run_dir=runs/mine"])`: what these words mean after `mentee-distill`.

    Without `run_dir` it is `runs/distill`. Raises `UserError` for a name, a count or a rate that cannot be meant.
    """
    try:
        config = compose_config("distill", DistillConfig, [RUN_DIR, *overrides])
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(in_one_line(error, DistillConfig)) from None
    check_distill(config)
    return config
