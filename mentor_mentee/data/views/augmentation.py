"""Settings of what training may change about a sample. Imports no torch: a configuration is checked before torch is imported."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from mentor_mentee.data.views.transform_names import HOLDERS, check_transforms, named
from mentor_mentee.errors import UserError
from mentor_mentee.recipe import recipe_identity
from mentor_mentee.settings import setting

NONE = dict.fromkeys(("rotate", "shear", "scale", "shift", "elastic"), 0.0) | {
    "flip": False,
    "erase": 0.0,
    "views": None,
}


@dataclass
class Mix:
    """Mixes each sample of a batch with another one; with both, each batch is of one or the other."""

    mixup: float = setting(0.0, "α of the Beta distribution of the shares (arXiv 1710.09412), usually 0.2; 0: none")
    cutmix: float = setting(0.0, "α likewise; a box comes from the other (arXiv 1905.04899), usually 1; 0: none")

    def active(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0


@dataclass
class Augmentation:
    """Mentor and mentee see the same view of a sample, a function of seed, sample and number of the view.

    With `views` a sample has that many versions, the same in every run, which it shows in turn from pass to pass over the
    data: the mentor's answers to them can be cached. Null makes a new one each time.
    """

    transforms: list[Any] = setting(
        [], "of torchvision.transforms.v2, in turn: a name, or {_target_: name, option: value}; your own by module.name"
    )
    mix: Mix = setting(Mix, "samples mixed with each other")
    views: int | None = setting(
        None, "versions of a sample, shown in turn, whose mentor outputs can be cached; null: always new"
    )

    def active(self) -> bool:
        """Whether a sample has more than one view. Mixing comes after that."""
        return bool(self.transforms)

    def check(self, where: str) -> None:
        """Raises `UserError` for what makes no sense."""
        check_transforms(self.transforms, f"{where}.transforms")
        for name, alpha in vars(self.mix).items():
            if not (isfinite(alpha) and alpha >= 0):
                raise UserError(f"{where}.mix.{name}={alpha}; expected a finite number of at least 0, as 0.2")
        if self.views is not None and self.views < 1:
            raise UserError(f"{where}.views={self.views}; expected 1 or more, or null for a new view at every pass")

    def identity(self) -> str:
        """All that a view depends on but its numbers, the code of own transforms included."""
        return json.dumps([self.transforms, own_code(self.transforms)], sort_keys=True, default=str)


def recorded(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as checkpoints and cached mentors have them: none at all as when there were amounts, so that those are found."""
    return NONE if settings == asdict(Augmentation()) else dict(settings)


def own_code(transforms: list[Any]) -> list[str]:
    """Hashes of the source of transforms that are not torchvision's."""
    found = []
    for given in transforms:
        one = named(given, "transforms")
        if one.own:
            found.append(recipe_identity({"_target_": one.name}, "transforms"))
        elif one.name in HOLDERS:
            found += own_code(one.options["transforms"])
    return found


def told(how: Augmentation | Mapping[str, Any]) -> str:
    """One phrase for a person: what is done, and how many views there are. `how`: the settings, or their record."""
    values = asdict(how) if isinstance(how, Augmentation) else dict(how)
    if "transforms" not in values:  # of a version that had amounts instead
        done = [f"{name} {amount}" for name, amount in values.items() if name != "views" and amount]
    else:
        done = [named(one, "transforms").name for one in values["transforms"]]
    views = values.get("views")
    count = "always new views" if views is None else f"{views} view{'s' * (views > 1)}"
    phrases = [f"{', '.join(done)} ({count})"] if done else []
    phrases += [f"{name} {alpha:g}" for name, alpha in dict(values.get("mix") or {}).items() if alpha]
    return ", ".join(phrases) or "no augmentation"
