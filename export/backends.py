"""Kinds of graphs that learn, one for each runtime: which of them an export makes, and what it says of one that it leaves out."""

import re
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from mentor_mentee.errors import UserError

TRAINING, STOCK = "ort-training", "stock"
AUTO, BOTH = "auto", "both"
BACKENDS = (AUTO, TRAINING, STOCK, BOTH)
RUNTIMES = {TRAINING: "ONNX Runtime Training 1.19.2", STOCK: "any ONNX Runtime since 1.17"}
BY_TRAINING = " in ONNX Runtime Training"  # in what is said of an operator
LAST_PYTHON = (3, 12)  # of which there is a wheel of ONNX Runtime Training


def wanted(backend: str) -> tuple[str, ...]:
    """Folders that `backend` asks for; `auto` takes those of them that prove."""
    return (TRAINING, STOCK) if backend in (AUTO, BOTH) else (backend,)


def training_missing() -> str | None:
    """Why no graphs for ONNX Runtime Training can be made in this Python; None where they can. Imports no runtime."""
    spec = find_spec("onnxruntime")
    folders = (spec.submodule_search_locations if spec is not None else None) or ()
    if any((Path(folder) / "training" / "api" / "__init__.py").is_file() for folder in folders):
        return None
    if sys.version_info[:2] > LAST_PYTHON:
        return (
            f"{RUNTIMES[TRAINING]} has no release for Python {sys.version_info[0]}.{sys.version_info[1]}: its graphs are made "
            "with Python 3.11 or 3.12"
        )
    return f"{RUNTIMES[TRAINING]} is not installed: pip uninstall onnxruntime, then pip install onnxruntime-training-cpu==1.19.2"


def require_installed(backend: str) -> None:
    """Raises `UserError` where graphs were asked for by name that cannot be made in this Python."""
    if backend in (TRAINING, BOTH) and (missing := training_missing()) is not None:
        raise UserError(f"backend={backend}: {missing}; or leave backend out, or take backend=stock")


def refused(reasons: Mapping[str, str]) -> UserError:
    """The error of a network that none of the kinds carries. `reasons`: why not, by kind; said once where they agree."""
    if len({alike(reason) for reason in reasons.values()}) == 1:
        return UserError(list(reasons.values())[-1])
    return UserError("; ".join(f"{name}: {reason}" for name, reason in reasons.items()))


def alike(reason: str) -> str:
    """A reason without whose it is, how many more there are, and the figures behind."""
    return re.sub(r" \(and \d+ more:[^)]*\)", "", reason).replace(BY_TRAINING, "").partition(" It differs in ")[0]


def left_out(reasons: Mapping[str, str]) -> str:
    """One line on kinds that are left out; empty where none is."""
    return "; ".join(f"{name} is left out: {reason}" for name, reason in reasons.items())
