"""What an owner may set once and for all: limits of the guard, obedience, rails of the answers, bounds of what is kept."""

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from mentee_device.bundle.manifest import KNOBS, Manifest
from mentee_device.runs.curves import check_curve, highest
from mentee_device.runs.guard import Limits
from mentee_device.runs.replay import AUTO, MENTOR, OWN, REPLAYS
from mentee_device.runs.run import ROUNDS
from mentee_device.state.store import Store

NAME = "settings"


class SettingError(ValueError):
    """A setting that makes no sense; one line. Nothing was changed."""


@dataclass(frozen=True)
class Settings:
    """Defaults of one owner's folder. A knob that is None is the bundle's; a curve is `[[fraction of the run, value], …]`.

    The first four are the guard's `Limits`. With `interpolate` an update that breaks them is taken part of the way, by the
    largest share that they allow (interpolation.py), instead of not at all. `replay` and `rounds` are those of a run that
    names none (run.py). `blocked`: names of classes that are never answered. `confidence_floor`: below that probability
    the answer is "don't know". Samples beyond `most_samples` or `most_sample_bytes` make older ones go (see kept.py);
    beyond `most_versions` the oldest kept checkpoints go.
    """

    golden_drop: float = Limits.golden_drop
    class_drop: float | None = None
    agreement_least: float | None = None
    ece_rise: float | None = None
    interpolate: bool = False
    alpha: Any = None
    beta: Any = None
    gamma: Any = None
    temperature: Any = None
    replay: str = AUTO
    rounds: int = ROUNDS
    blocked: tuple[str, ...] = ()
    confidence_floor: float = 0.0
    most_samples: int = 1000
    most_sample_bytes: int = 32 << 20
    most_versions: int = 5

    def limits(self) -> Limits:
        """What the guard holds an update to."""
        return Limits(self.golden_drop, self.class_drop, self.agreement_least, self.ece_rise)

    def knobs(self) -> dict[str, Any]:
        """The knobs that are set."""
        return {name: getattr(self, name) for name in KNOBS if getattr(self, name) is not None}


def read_settings(store: Store) -> Settings:
    """What is kept in `store`, over the defaults."""
    known = {field.name for field in fields(Settings)}
    kept = {name: value for name, value in store.setting(NAME, {}).items() if name in known}
    if "blocked" in kept:
        kept["blocked"] = tuple(kept["blocked"])
    return Settings(**kept)


def write_settings(store: Store, manifest: Manifest, **changes: Any) -> Settings:
    """Changes some and keeps them, with a line in the log. Raises SettingError."""
    known = {field.name for field in fields(Settings)}
    for name in changes.keys() - known:
        raise SettingError(f"no setting {name!r}; there are {', '.join(sorted(known))}")
    if isinstance(changes.get("blocked"), str | list | tuple):
        given = changes["blocked"]
        changes["blocked"] = (given,) if isinstance(given, str) else tuple(given)
    before = read_settings(store)
    after = replace(before, **changes)
    _check(after, manifest)
    moved = [
        f"{name} {getattr(before, name)} -> {value}"
        for name, value in asdict(after).items()
        if value != getattr(before, name)
    ]
    named = {name: asdict(after)[name] for name in changes}  # the others go with the program's defaults
    with store.transaction():
        store.set(NAME, {**store.setting(NAME, {}), **named})
        if moved:
            store.record("settings", ", ".join(moved))
    return after


def _check(settings: Settings, manifest: Manifest) -> None:
    for name in ("golden_drop", "class_drop", "agreement_least", "ece_rise", "confidence_floor"):
        value = getattr(settings, name)
        if value is None and name not in ("golden_drop", "confidence_floor"):
            continue
        if not _is_number(value) or not 0 <= value <= 1:
            raise SettingError(f"{name} is {value!r}, expected a number from 0 to 1")
    for name, least in (("most_samples", 1), ("most_sample_bytes", 1), ("most_versions", 1), ("rounds", 0)):
        value = getattr(settings, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise SettingError(f"{name} is {value!r}, expected a whole number of at least {least}")
    if not isinstance(settings.interpolate, bool):
        raise SettingError(f"interpolate is {settings.interpolate!r}, expected true or false")
    if settings.replay not in REPLAYS:
        raise SettingError(f"replay is {settings.replay!r}, expected {', '.join(REPLAYS[:-1])} or {REPLAYS[-1]}")
    for name, curve in settings.knobs().items():
        try:
            check_curve(name, curve)
        except ValueError as error:
            raise SettingError(str(error)) from error
    if settings.replay == OWN and settings.beta is not None and highest(settings.beta) > 0:
        raise SettingError(
            f"beta {settings.beta} weighs the mentor's layers, and replay is {OWN!r}, which has none: set replay to "
            f"{AUTO!r} or {MENTOR!r}, or beta to None"
        )
    if not isinstance(settings.blocked, tuple):
        raise SettingError(f"blocked is {settings.blocked!r}, expected a list of class names")
    for one in settings.blocked:
        if one not in manifest.classes:
            raise SettingError(f"blocked names {one!r}, which is no class of the bundle: {list(manifest.classes)[:20]}")
    if set(settings.blocked) == set(manifest.classes):
        raise SettingError("blocked names every class: nothing could be answered")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
