"""An owner's settings: limits of the guard, obedience, rails of the answers, bounds of what is stored."""

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from mentee_device.bundle.inputs import KNOBS
from mentee_device.bundle.manifest import Manifest
from mentee_device.guard.measures import Limits
from mentee_device.runs.plans.curves import check_curve, highest
from mentee_device.runs.plans.described import described
from mentee_device.runs.plans.given import plain
from mentee_device.runs.replay import AUTO, MENTOR, OWN, REPLAYS
from mentee_device.state.feature import Feature, NewBase
from mentee_device.state.storage.store import Store

NAME = "settings"


class SettingError(ValueError):
    """A setting that makes no sense; one line. Nothing was changed."""


@dataclass(frozen=True)
class Settings:
    """Defaults of one owner's folder. A knob that is None is the bundle's; a curve is `[[fraction of the run, value], …]`."""

    golden_drop: float = described(Limits.golden_drop, "golden accuracy that a run may cost, as a fraction")
    class_drop: float | None = described(None, "accuracy that a run may cost any single class (none: not held)")
    agreement_least: float | None = described(
        None, "share of golden samples that must get the base's answer (none: not held)"
    )
    ece_rise: float | None = described(None, "rise of the calibration error that a run may cost (none: not held)")
    interpolate: bool = described(False, "takes a run that breaks a limit part of the way, instead of not at all")
    alpha: Any = described(None, "weight of the labels' term of the loss (none: the bundle's)")
    beta: Any = described(None, "weight of the mentor's layers (none: the bundle's)")
    gamma: Any = described(None, "weight of the mentor's softmax (none: the bundle's)")
    temperature: Any = described(None, "temperature of the softmax term (none: the bundle's)")
    replay: str = described(AUTO, "who answers the bundle's samples in a run: own, mentor, auto")
    rounds: int = described(5, "rounds of guessing missing labels in a run, 0 for none")
    blocked: tuple[str, ...] = described((), "names of classes that are never answered")
    confidence_floor: float = described(0.0, 'probability below which the answer is "don\'t know"')
    most_samples: int = described(1000, "samples in the sample store; beyond it older ones go")
    most_sample_bytes: int = described(32 << 20, "bytes of all samples together; beyond it older ones go")
    most_versions: int = described(5, "accepted versions with a checkpoint; beyond it the oldest go")

    def limits(self) -> Limits:
        """The limits that the guard holds a candidate to."""
        return Limits(self.golden_drop, self.class_drop, self.agreement_least, self.ece_rise)

    def knobs(self) -> dict[str, Any]:
        """The knobs that are set."""
        return {name: getattr(self, name) for name in KNOBS if getattr(self, name) is not None}


def read_settings(store: Store) -> Settings:
    """Reads those in `store`, over the defaults."""
    known, stored = {field.name for field in fields(Settings)}, store.setting(NAME, {})
    found: dict[str, Any] = {}
    for name in known & (stored.keys() if isinstance(stored, dict) else set()):
        value: Any = tuple(stored[name]) if name == "blocked" and isinstance(stored[name], list) else stored[name]
        try:
            changed: dict[str, Any] = {name: value}
            _check(replace(Settings(), **changed), None)
            found[name] = value
        except SettingError:  # nothing that was ever set: of a damaged row, which opening has said
            continue
    return Settings(**found)


def given_settings(store: Store) -> dict[str, Any]:
    """Those that were ever set, as JSON has them; the others go with the program's defaults."""
    sound, stored = asdict(read_settings(store)), store.setting(NAME, {})
    return {name: list(value) if isinstance(value, tuple) else value for name, value in sound.items() if name in stored}


def write_settings(store: Store, manifest: Manifest, **changes: Any) -> Settings:
    """Changes some and stores them, with a line in the log. Raises SettingError."""
    changes, known = plain(changes), {field.name for field in fields(Settings)}
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


def rename_blocked(store: Store, before: Manifest, after: Manifest) -> None:
    """Blocks the same classes under the names of `after`, in the caller's transaction; one that lost its name no longer."""
    blocked = read_settings(store).blocked
    freed = {before.classes[place] for place in {*after.unnamed} - {*before.unnamed}}
    left = [name for name in blocked if name not in freed]
    renamed = tuple(after.classes[before.classes.index(name)] if name in before.classes else name for name in left)
    if renamed != blocked:
        store.set(NAME, {**store.setting(NAME, {}), "blocked": renamed})


class SettingRows(Feature):
    """Settings under another base: only `blocked` depends on it."""

    def on_new_base(self, store: Store, change: NewBase) -> None:
        """Blocks the classes that the new base has too."""
        before = read_settings(store).blocked
        left = tuple(name for name in before if name in change.manifest.classes)
        if left != before:
            store.set(NAME, {**store.setting(NAME, {}), "blocked": left})
            lost = sorted(set(before) - set(left))
            store.record("settings", f"the new base has no {', '.join(lost)}: blocked no longer")


def _check(settings: Settings, manifest: Manifest | None) -> None:
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
    for one in settings.blocked if manifest else ():
        if manifest and one not in manifest.classes:
            raise SettingError(f"blocked names {one!r}, which is no class of the bundle: {list(manifest.classes)[:20]}")
    if manifest and {*map(manifest.classes.index, settings.blocked), *manifest.unnamed} == {
        *range(len(manifest.classes))
    }:
        raise SettingError("blocked names every class: nothing could be answered")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
