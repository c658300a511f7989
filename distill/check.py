"""What can be known to be wrong before anything heavy is imported."""

from data.errors import UserError
from data.load import check_data
from data.recipe import check_recipe
from distill.schema import DistillConfig, FitConfig

FROM_THE_DATA = frozenset({"num_classes", "in_channels"})


def check_distill(config: DistillConfig) -> None:
    """Raises `UserError` for a name, a count or a rate that cannot be meant."""
    check_recipe(config.mentor.network, "mentor.network", FROM_THE_DATA)
    check_recipe(config.mentee.network, "mentee.network", FROM_THE_DATA)
    check_recipe(config.schedule, "schedule")
    check_data(config.data)
    check_fit(config.trainer, "trainer")
    check_fit(config.mentor.fit, "mentor.fit")
    if config.threads is not None and config.threads < 1:
        raise UserError(f"threads={config.threads}; expected 1 or more, or null")
    for name, seed in (("seed", config.seed), ("mentor.seed", config.mentor.seed)):
        if not 0 <= seed < 2**40:
            raise UserError(f"{name}={seed}; expected 0 or more, below 2^40")


def check_fit(config: FitConfig, where: str) -> None:
    for name, least in (("epochs", 1), ("batch", 1), ("steps_per_epoch", 1)):
        value = getattr(config, name)
        if value is not None and value < least:
            raise UserError(f"{where}.{name}={value}; expected {least} or more")
    if not 0 < config.learning_rate < 1e38:
        raise UserError(f"{where}.learning_rate={config.learning_rate}; expected a finite number above 0")
    for name in ("weight_decay", "momentum"):
        if not 0 <= getattr(config, name) < 1e38:
            raise UserError(f"{where}.{name}={getattr(config, name)}; expected a finite number of at least 0")
    if not 0 <= config.warmup < 1:
        raise UserError(f"{where}.warmup={config.warmup}; expected a fraction of the run, from 0 to below 1")
