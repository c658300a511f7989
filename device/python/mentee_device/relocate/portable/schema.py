"""The record of an exported state, key by key: what it may say, whatever bundle it is for.

What refers to a part of the file is the part's number. device/js/src/portable/schema.ts has the same rules.
"""

import time
from typing import Any

from mentee_device.bundle.fields import LARGEST
from mentee_device.bundle.inputs import KNOBS
from mentee_device.bundle.parts import RATE_RANGE
from mentee_device.relocate.portable.checks import (
    Check,
    Misfit,
    anything,
    flag,
    keys,
    list_of,
    matching,
    maybe,
    number,
    one_of,
    pair,
    table_of,
    text,
    whole,
)
from mentee_device.runs.replay import OWN, REPLAYS
from mentee_device.state.about import SOURCES
from mentee_device.state.class_names import CLASS_NAME, is_class_name
from mentee_device.state.storage.store import CLOCK

MOST_AXES = 16
FLOAT32_END = 3.4e38
STATUSES = ("candidate", "accepted", "dropped", "pruned", "unlearned", "damaged", "superseded")


def _time(value: Any, where: str) -> None:
    matching(r"[12]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "a time such as 2026-01-31T23:59:59Z")(value, where)
    try:
        if time.strftime(CLOCK, time.strptime(value, CLOCK)) != value:
            raise ValueError
    except ValueError:
        raise Misfit(f"{where} is {value!r}, which is no time") from None


def class_name(value: Any, where: str) -> None:
    """A name that a class may have."""
    if not is_class_name(value):
        raise Misfit(f"{where} is {repr(value)[:70]}, expected {CLASS_NAME}")


def _uint128(value: Any, where: str) -> None:
    matching(r"0|[1-9]\d{0,38}", "a whole number of 128 bits as text")(value, where)
    if int(value) >= 1 << 128:
        raise Misfit(f"{where} is beyond 128 bits")


def _curve(name: str) -> Check:
    value = number(0, LARGEST, above=0) if name == "temperature" else number(0, LARGEST)
    points = list_of(pair(number(0, 1), value), least=1)

    def check(given: Any, where: str) -> None:
        if not isinstance(given, list):
            value(given, where)
            return
        points(given, where)
        positions = [point[0] for point in given]
        if positions != sorted(positions):
            raise Misfit(f"{where} has positions that do not rise")

    return check


NUMBER = matching(r"[1-9]\d{0,14}", "a sample's number")
WHOLES, PART, SHARE = list_of(whole()), whole(), number(0, 1)
NATURAL = whole(1)
DTYPE = one_of("uint8", "float32")
STORED = {"number": NATURAL, "time": _time, "source": one_of(*SOURCES), "weight": number(above=0)}
INPUT = {"dtype": DTYPE, "input": PART, "mentor_logits": maybe(PART)}
RANDOM = keys({"state": _uint128, "inc": _uint128, "has_uint32": whole(0, 1), "uinteger": whole(0, 2**32 - 1)})
BOUNDS = {name: number(above=0) for name in ("steps", "seconds", "samples", "joules", "watts")}
KNOB_CURVES = {name: _curve(name) for name in KNOBS}
ABOVE = number(above=0, below=FLOAT32_END)
PLAN = keys(
    {
        **dict.fromkeys(("samples", "held", "unlabelled"), WHOLES),
        "budget": keys({}, BOUNDS),
        "batch": NATURAL,
        "replay_batch": whole(),
        "owner_weight": ABOVE,
        "knobs": keys({}, KNOB_CURVES),
        "once": flag,
        "save_every": NATURAL,
        "replay": one_of(*REPLAYS),
        "rounds": whole(),
        "guessed_batch": NATURAL,
        "guess_weight": ABOVE,
        "holdout": number(0, below=1),
    },
    {"shift": NATURAL},
)
PROGRESS = keys({}, {"steps": whole(), "seconds": number(0), "samples": whole(), "round": whole()})
VECTORS = keys({"parameters": PART}, {"statistics": PART, "moment1": PART, "moment2": PART})
SNAPSHOT = keys({"learning_rate": number(*RATE_RANGE), "random": RANDOM, "taken": whole(), "vectors": VECTORS})


def _verdict(value: Any, where: str) -> None:
    table_of(text, anything)(value, where)
    update = value.get("update", {})
    if not isinstance(update, dict):
        raise Misfit(f"{where}.update is no object")
    maybe(number())(update.get("accuracy"), f"{where}.update.accuracy")
    list_of(text)(value.get("holds", []), f"{where}.holds")


def _plan(value: Any, where: str) -> None:
    """{} of a version whose run nobody knows any more."""
    if value == {}:
        return
    PLAN(value, where)
    budget = value["budget"]
    if not budget or ("joules" in budget) != ("watts" in budget) or budget.keys() == {"watts"}:
        raise Misfit(f"{where}.budget has no bound, or joules without watts")
    if value["once"] and value["holdout"]:
        raise Misfit(f"{where} holds out of one pass")
    if value["replay"] == OWN and highest(value["knobs"].get("beta", 0)) > 0:
        raise Misfit(f"{where} weighs layers that its replay has not")


def highest(curve: Any) -> float:
    """The largest value that a curve takes."""
    return float(max(point[1] for point in curve) if isinstance(curve, list) else curve)


VERSION = keys(
    {
        "number": NATURAL,
        "parent": whole(),
        "status": one_of(*STATUSES),
        "time": maybe(_time),
        "bundle": text,
        "step": whole(),
        "learned": WHOLES,
        "plan": _plan,
        "progress": PROGRESS,
        "verdict": _verdict,
        "why": text,
        "identity": text,
        "snapshot": maybe(SNAPSHOT),
        "guesses": table_of(NUMBER, whole()),
    }
)
SETTINGS = keys(
    {},
    {
        "golden_drop": SHARE,
        **{name: maybe(SHARE) for name in ("class_drop", "agreement_least", "ece_rise")},
        "interpolate": flag,
        **{name: maybe(curve) for name, curve in KNOB_CURVES.items()},
        "replay": one_of(*REPLAYS),
        "rounds": whole(),
        "blocked": list_of(text),
        "confidence_floor": SHARE,
        **dict.fromkeys(("most_samples", "most_sample_bytes", "most_versions"), NATURAL),
    },
)
WATCH = keys(
    {
        "samples": maybe(whole(2)),
        "seconds": maybe(number(above=0)),
        "capacity": whole(2, 1_000_000),
        "percentile": number(above=0, below=100),
        "neighbours": NATURAL,
        "seed": whole(),
        "observing": flag,
        "seen": whole(),
        "first": maybe(number()),
        "last": maybe(number()),
        "ends": maybe(whole()),
        "random": RANDOM,
        "size": whole(1, 1 << 24),
        "stored": PART,
    }
)
ANSWERS = list_of(
    keys({"number": NATURAL, "version": whole(), "mentor_logits": PART, "activations": table_of(text, PART)})
)
ASKED = keys(
    {
        "waiting": list_of(NATURAL),
        "left": table_of(NUMBER, _time),
        "refused": table_of(NUMBER, text),
        **dict.fromkeys(("sent", "sent_bytes", "answered", "tries"), whole()),
        **dict.fromkeys(("last", "service", "why"), text),
        "not_before": number(0),
    }
)
LAYOUT = list_of(pair(text, list_of(NATURAL, 8)))
RECORD = keys(
    {
        "layout": keys({"parameters": LAYOUT, "statistics": LAYOUT}),
        "current": whole(),
        "next": keys({"sample": NATURAL, "version": NATURAL, "enrolled": NATURAL}),
        "samples": list_of(
            keys({**STORED, **INPUT, "label": whole(-1), "confidence": maybe(number()), "before": maybe(whole(-1))})
        ),
        "aside": list_of(
            keys(
                {
                    **STORED,
                    **INPUT,
                    "class": text,
                    "preprocessing": keys(
                        {
                            "shape": list_of(NATURAL, MOST_AXES, 1),
                            "mean": list_of(number(-LARGEST, LARGEST)),
                            "std": list_of(number(above=0, most=LARGEST)),
                            "dtype": DTYPE,
                        }
                    ),
                }
            )
        ),
        "enrolled": list_of(keys({"number": NATURAL, "class": class_name, "dtype": DTYPE, "input": PART})),
        "versions": list_of(VERSION),
        "settings": SETTINGS,
        "log": list_of(keys({"time": maybe(_time), "event": text, "line": text, "details": table_of(text, anything)})),
        "watch": maybe(WATCH),
    },
    {  # names of spare classes; what a mentor that was asked online said, and what left the device for it
        "names": table_of(text, class_name),
        "lost_names": list_of(class_name),
        "answers": ANSWERS,
        "asked": ASKED,
    },
)
