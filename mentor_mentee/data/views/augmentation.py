"""Settings of what training may change about a sample. Imports no torch: a configuration is checked before torch is imported."""

from dataclasses import dataclass

from mentor_mentee.errors import UserError
from mentor_mentee.settings import setting

LIMITS = {"rotate": 180.0, "shear": 60.0, "shift": 0.5, "scale": 0.9, "elastic": 0.5, "erase": 1.0}


@dataclass
class Augmentation:
    """Each amount is the largest, drawn uniformly from both sides of no change. Mentor and mentee see the same result.

    With `views` a sample has that many versions, the same in every run, which it shows in turn from pass to pass over the
    data: the mentor's answers to them can be cached. Null makes a new one each time.
    """

    rotate: float = setting(0.0, "degrees")
    shear: float = setting(0.0, "degrees")
    scale: float = setting(0.0, "larger or smaller by this fraction")
    shift: float = setting(0.0, "fraction of the height and of the width")
    elastic: float = setting(
        0.0, "fraction of the sides by which each of 4x4 knots moves (Simard et al. 2003, coarser)"
    )
    flip: bool = setting(False, "left and right, half of the samples")
    erase: float = setting(
        0.0, "side of a blanked square, as a fraction of the shorter side (Cutout, arXiv 1708.04552)"
    )
    views: int | None = setting(
        None, "versions of a sample, shown in turn, whose mentor outputs can be cached; null: always new"
    )

    def active(self) -> bool:
        return self.flip or any(getattr(self, name) > 0 for name in LIMITS)

    def check(self, where: str) -> None:
        """Raises `UserError` for an amount that makes no sense."""
        for name, most in LIMITS.items():
            if not 0 <= getattr(self, name) <= most:
                raise UserError(f"{where}.{name}={getattr(self, name)}; expected 0 to {most:g}")
        if self.views is not None and self.views < 1:
            raise UserError(f"{where}.views={self.views}; expected 1 or more, or null for a new view at every pass")
