"""The weights of the loss's terms and the temperature of its softmax: one step's, a run's last, a bundle's defaults."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Knobs:
    """α β γ T of `objective/loss.py`."""

    alpha: float
    beta: float
    gamma: float
    temperature: float

    def unsupervised(self) -> bool:
        """True if the mentor counts for nothing."""
        return self.beta == 0 and self.gamma == 0
