"""Settings that were renamed, or went. On a command line the old names still work; in a file the error says the new one."""

import re
from collections.abc import Iterable

from mentor_mentee.errors import UserError

RENAMED = {
    "keep_answers": "cache.answers",
    "cache_answers": "cache.answers",
    "keep_answers_mb": "cache.max_gb",
    "answer_cache_mb": "cache.max_gb",
    "trainer.epochs": "trainer.max_epochs",
    "mentor.fit.epochs": "mentor.fit.max_epochs",
}

AFFINE = "{_target_:RandomAffine,degrees:0,"
GONE = {  # what does the like of it, in `transforms`
    "rotate": "{_target_:RandomAffine,degrees:12,interpolation:bilinear}",
    "shear": AFFINE + "shear:8,interpolation:bilinear}",
    "scale": AFFINE + "scale:[0.9,1.1],interpolation:bilinear}",
    "shift": "{_target_:RandomCrop,padding:4}",
    "elastic": "{_target_:ElasticTransform,alpha:25,sigma:4}",
    "flip": "RandomHorizontalFlip",
    "erase": "RandomErasing",
}


def gone(setting: str) -> str | None:
    """How to write `trainer.augment.shift` now; None for a setting that never was."""
    found = re.fullmatch(r"((?:trainer|mentor\.fit)\.augment)\.(\w+)", setting)
    if found is None or found[2] not in GONE:
        return None
    group = "augment=crop_flip" if found[1].startswith("trainer") else "+augment@mentor.fit.augment=crop_flip"
    return (
        f"no setting '{setting}' any more: augmentation is torchvision's; write '{found[1]}.transforms=[{GONE[found[2]]}]', or "
        f"{group}"
    )


def with_new_name(argument: str) -> str:
    """`keep_answers=true` -> `cache.answers=true`, `~keep_answers_mb` -> `~cache.max_gb`, `answer_cache_mb=1000` ->
    `cache.max_gb=1`."""
    found = re.match(r"(\+*|~)([\w.]+)(=|$)", argument)
    if found is None or found[2] not in RENAMED:
        return argument
    value = argument[found.end() :]
    if found[2].endswith("_mb") and re.fullmatch(r"\d+(\.\d+)?", value):
        value = f"{float(value) / 1000:g}"
    return f"{found[1]}{RENAMED[found[2]]}{found[3]}{value}"


def require_one_name(arguments: Iterable[str]) -> None:
    """Raises `UserError` for a setting that is given under its old name and its new one: they may differ."""
    words = [word.lstrip("+~") for word in arguments]
    given = {word.partition("=")[0]: word for word in words}
    for old, new in RENAMED.items():
        if old in given and new in given:
            raise UserError(f"{given[old]} and {given[new]} are one setting, which is called {new} now; give it once")
