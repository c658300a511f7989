"""The typed shape of an export's configuration. Imports neither torch nor onnx: a typo must be answered at once."""

import math
from dataclasses import asdict, dataclass, field

from data.errors import UserError


@dataclass
class AdamW:
    """torch.optim.AdamW's own update and defaults; the runtime's defaults are others."""

    learning_rate: float = 1e-3
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    epsilon: float = 1e-8
    weight_decay: float = 0.01


@dataclass
class Loss:
    """The knobs that device learning starts with."""

    alpha: float = 1.0
    beta: float = 0.1
    gamma: float = 1.0
    temperature: float = 4.0


@dataclass
class ExportSettings:
    """`checkpoint`: the mentee.safetensors of a run. Packs are class-balanced, so many samples of each class."""

    checkpoint: str = "???"
    bundle: str = "???"
    supervision_per_class: int = 20
    golden_per_class: int = 20
    loss: Loss = field(default_factory=Loss)
    optimizer: AdamW = field(default_factory=AdamW)
    overwrite: bool = False


def check_export(settings: ExportSettings) -> None:
    """Raises `UserError` for a count, a weight or a rate that cannot be meant."""
    for name in ("supervision_per_class", "golden_per_class"):
        if getattr(settings, name) < 1:
            raise UserError(f"{name}={getattr(settings, name)}; expected 1 or more samples of each class")
    for name, value in asdict(settings.loss).items():
        if not (math.isfinite(value) and value >= 0) or (name == "temperature" and value == 0):
            raise UserError(f"loss.{name}={value}; expected a finite number of at least 0, and a temperature above 0")
    optimizer = settings.optimizer
    if (
        not 0 < optimizer.learning_rate < math.inf
        or not 0 < optimizer.epsilon < 1
        or not 0 <= optimizer.weight_decay < math.inf
    ):
        raise UserError(f"optimizer {optimizer}; expected learning_rate > 0, 0 < epsilon < 1 and weight_decay >= 0")
    if len(optimizer.betas) != 2 or not all(0 <= beta < 1 for beta in optimizer.betas):
        raise UserError(f"optimizer.betas={optimizer.betas}; expected two numbers from 0 to below 1")
