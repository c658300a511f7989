"""Rules that a row of each table keeps, whatever bundle the state is for: what is read back is what could have been written.

A row is a mapping of its columns' names to what SQLite gives.
"""

import json
import math
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import numpy as np

from mentee_device.core.snapshot import Snapshot
from mentee_device.state.about import SOURCES
from mentee_device.state.storage.encryption import Seal

Row = Mapping[str, Any]
LARGEST = 2**53  # of a number that JSON carries exactly
STATUSES = ("candidate", "kept", "dropped", "pruned", "forgotten", "damaged", "superseded")  # as format 2 writes them
WITH_CHECKPOINT = ("candidate", "kept")
PROGRESS = {"steps", "seconds", "samples", "round"}
MOST_AXES = 32
# Exceptions of reading a row that makes no sense; a StateError of the seal is a ValueError.
NONSENSE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


def keeps_rules(table: str, row: Row, seal: Seal) -> bool:
    """Whether what the row says makes sense, its content apart."""
    try:
        for value in row.values():
            if isinstance(value, str):
                value.encode()  # refuses what was no UTF-8
        return bool(_RULES[table](row, seal))
    except NONSENSE:
        return False


def content_intact(table: str, row: Row, seal: Seal) -> bool:
    """Whether what has a digest of its own has that digest."""
    try:
        if table == "versions":
            return row["checkpoint"] is None or bool(version_snapshot(row, seal).digest() == row["digest"])
        if table == "samples":
            return bool(_hex(row["about"]) + _hex(row["content"]) == row["digest"])
        return table != "blobs" or bool(_hex(row["value"]) == row["digest"])
    except NONSENSE:
        return False


def version_snapshot(row: Row, seal: Seal) -> Snapshot:
    """The snapshot in a version's row, unchecked. Raises ValueError, TypeError, AttributeError."""
    sealed = seal.open(row["checkpoint"], f"version {row['number']}")
    return Snapshot(row["bundle"], row["step"], row["learning_rate"], json.loads(row["random"]), sealed)


def about_of(text: bytes) -> tuple[str, int, float]:
    """(source, label, weight) of a sample. Raises ValueError where they make no sense."""
    source, label, weight = json.loads(text)
    if source not in SOURCES or not _whole(label, least=-1) or not _number(weight) or not weight > 0:
        raise ValueError(f"{source!r}, {label!r}, {weight!r}")
    return source, label, float(weight)


def head_of(line: bytes) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """(dtype, shape, how many logits) of a sample's content. Raises ValueError, TypeError, KeyError where it is none."""
    head = json.loads(line)
    shape, dtype = tuple(head["shape"]), np.dtype(head["dtype"])
    if len(shape) > MOST_AXES or not all(_whole(one) for one in (*shape, head["logits"])) or dtype.hasobject:
        raise ValueError(f"shape {shape}, {head['logits']} logits")
    return dtype, shape, head["logits"]


def _state(row: Row, seal: Seal) -> bool:
    whole = _whole(row["revision"]) and _whole(row["current"]) and isinstance(row["key_check"], bytes)
    return whole and isinstance(row["bundle"], str)


def _version(row: Row, seal: Seal) -> bool:
    learned, plan, progress, verdict = (json.loads(row[one]) for one in ("learned", "plan", "progress", "verdict"))
    update = verdict.get("update", {})
    accuracy = update.get("accuracy", 0.0)
    return (
        _whole(row["parent"])
        and row["parent"] < row["number"]
        and row["status"] in STATUSES
        and (row["checkpoint"] is not None) == (row["status"] in WITH_CHECKPOINT)
        and _whole(row["step"])
        and _number(row["learning_rate"])
        and isinstance(json.loads(row["random"]), dict)
        and all(isinstance(row[one], str) for one in ("name", "time", "bundle", "digest", "why"))
        and isinstance(learned, list)
        and all(map(_whole, learned))
        and isinstance(plan, dict)
        and progress.keys() <= PROGRESS
        and all(map(_number, progress.values()))
        and (accuracy is None or _number(accuracy))
    )


def _sample(row: Row, seal: Seal) -> bool:
    number = row["number"]
    about_of(seal.open(row["about"], f"about {number}"))
    content = seal.open(row["content"], f"sample {number}")
    line, _, rest = content.partition(b"\n")
    dtype, shape, logits = head_of(line)
    sized = len(rest) == math.prod(shape) * dtype.itemsize + 4 * logits and row["bytes"] == len(content)
    return sized and _whole(number, least=1) and all(isinstance(row[one], str) for one in ("time", "mark"))


def _log(row: Row, seal: Seal) -> bool:
    details = json.loads(row["details"])
    return isinstance(details, dict) and all(isinstance(row[one], str) for one in ("time", "event", "line"))


def _setting(row: Row, seal: Seal) -> bool:
    value = json.loads(row["value"])
    return isinstance(row["name"], str) and (row["name"] != "settings" or isinstance(value, dict))


def _blob(row: Row, seal: Seal) -> bool:
    return isinstance(row["name"], str) and isinstance(row["value"], bytes)


_RULES = {
    "state": _state,
    "versions": _version,
    "samples": _sample,
    "log": _log,
    "settings": _setting,
    "blobs": _blob,
}


def _whole(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= LARGEST


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _hex(data: bytes) -> str:
    return sha256(data).hexdigest()
