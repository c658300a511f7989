"""A life with spare classes under the Python program, for the TypeScript client to lead alike: named, learnt, removed, named
anew, on a base with less room and back, and two devices. States travel both ways on the way."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from mentee_device import Budget, Bundle, Owner, Plan, Samples, StateError, import_state
from numpy.typing import NDArray

NAME, OTHER, LAST = "👨‍👩‍👧", "frog", "🫨"  # two of them no version of Unicode before 15 calls printable
STEPS = 40
STOCK = {"backend": "stock"}


def write_naming(folder: Path) -> dict[str, Any]:
    """All that was to be seen at each turn; home.state and narrow.state in `folder`/naming, of the first base and the second."""
    place = folder / "naming"
    place.mkdir()
    with (
        tempfile.TemporaryDirectory() as scratch,
        Bundle.open(folder / "stock" / "spare") as roomy,
        Bundle.open(folder / "stock" / "narrow") as narrow,
    ):
        with Owner(roomy, Path(scratch) / "me", **STOCK) as me:
            told = {"names": [NAME, OTHER, LAST], "steps": STEPS, "begun": first(me)}
            told["named"] = named(me)
            told["removed"] = removed(me)
            told["anew"] = anew(me)
            me.export_state(place / "home.state")
            told["narrow"] = moved(me, narrow)
            me.export_state(place / "narrow.state")
        told["back"] = back(place / "narrow.state", Path(scratch) / "back", roomy, narrow)
        told["merged"] = merged(place / "home.state", Path(scratch), roomy)
    return told


def strange(me: Owner) -> NDArray[Any]:
    """[8, 1, 8, 8] like no digit."""
    inverted: NDArray[Any] = 255 - me.bundle.golden().input[:8]
    return inverted


def seen(me: Owner) -> dict[str, Any]:
    golden = me.bundle.golden().input[:30]
    return {
        "classes": list(me.classes),
        "blocked": list(me.settings.blocked),
        "current": me.versions.current,
        "samples": [[one.number, one.label] for one in me.samples.all()],
        "golden": me.predict(golden).classes.tolist(),
        "strange": me.predict(strange(me)).classes.tolist(),
        "recognised": me.recognise(strange(me)).classes.tolist(),
    }


def learnt(me: Owner, name: str, rows: slice) -> dict[str, Any]:
    some = strange(me)[rows]
    me.add(Samples(some, np.full(len(some), me.name_class(name))))
    done = me.learn(Plan(budget=Budget(steps=STEPS), seed=1, learning_rate=0.02))
    return {"status": done.status, "why": done.why, "last": done.last}


def first(me: Owner) -> dict[str, Any]:
    me.set(golden_drop=1.0, replay="mentor", rounds=0, blocked=["spare 1", "3"])
    return seen(me)


def named(me: Owner) -> dict[str, Any]:
    """Blocked under its new name as well, until that is set otherwise."""
    number = me.name_class(NAME)
    before = seen(me)
    me.set(blocked=["3"])
    run = learnt(me, NAME, slice(0, 4))
    me.enrol("my cup", strange(me)[6:8])
    me.add(Samples(me.bundle.golden().input[:2], me.bundle.golden().labels[:2]))
    return {"number": number, "before": before, "run": run, **seen(me)}


def removed(me: Owner) -> dict[str, Any]:
    """Under another name first."""
    me.set(blocked=["3", NAME])
    number = me.name_class("toad", 10)
    called = list(me.classes), list(me.settings.blocked)
    gone = me.remove_class("toad")
    replay = None if gone.replay is None else gone.replay.status
    about = {"samples": gone.samples, "versions": gone.versions, "current": gone.current, "replay": replay}
    return {"number": number, "called": called, "gone": about, **seen(me)}


def anew(me: Owner) -> dict[str, Any]:
    runs = [learnt(me, OTHER, slice(0, 3)), learnt(me, LAST, slice(4, 6))]
    return {"runs": runs, **seen(me)}


def moved(me: Owner, narrow: Bundle) -> dict[str, Any]:
    """To a base with one spare class, where the samples of the other are set aside."""
    found = me.migrate(narrow, Budget(steps=STEPS))
    return {"taken": found.taken, "aside": found.aside, **seen(me)}


def back(file: Path, folder: Path, roomy: Bundle, narrow: Bundle) -> dict[str, Any]:
    """From a file, on another device: the name that had no room has one again, and its samples are back."""
    import_state(file, folder, narrow)
    with Owner(narrow, folder, **STOCK) as me:
        found = me.migrate(roomy, Budget(steps=STEPS))
        return {"taken": found.taken, "aside": found.aside, **seen(me)}


def merged(file: Path, scratch: Path, roomy: Bundle) -> dict[str, Any]:
    """Into a device without names, and one that calls a class otherwise."""
    with Owner(roomy, scratch / "phone", **STOCK) as phone:
        phone.set(golden_drop=1.0)
        taken = phone.merge(file).taken
        found = {"taken": taken, **seen(phone)}
    with Owner(roomy, scratch / "other", **STOCK) as other:
        other.name_class(LAST)
        try:
            other.merge(file)
        except StateError as error:
            return found | {"refused": str(error)[:29]}
    raise AssertionError("it was merged")


def come_home(folder: Path, written: Path) -> list[str]:
    """Differences between what Python makes of `written`/js-narrow.state, which TypeScript exported on the narrow base, and what
    it says of its own file."""
    told = json.loads((folder / "naming.json").read_text())["back"]
    with (
        Bundle.open(folder / "stock" / "spare") as roomy,
        Bundle.open(folder / "stock" / "narrow") as narrow,
    ):
        found = back(written / "js-narrow.state", written / "home", roomy, narrow)
    return [name for name, value in found.items() if told[name] != value]
