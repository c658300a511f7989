"""Reads a file of weights, a safetensors file, a torch file or a TorchScript archive, as nested dicts of tensors.

No code in the file runs.
"""

import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from mentor.inert import read_inert
from mentor.weights.file import require_file
from mentor_mentee.errors import UserError

DEPTH = 4  # dicts inside dicts that are looked into


def read_content(path: Path) -> Any:
    """The file's dicts and tensors; of a pickled or scripted module its state dict. Raises `UserError` for a file that is
    missing or damaged."""
    require_file(path)
    try:
        if path.suffix == ".safetensors":
            return read_safetensors(path)
        if scripted(path):
            return read_inert(path)
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            if not (zipfile.is_zipfile(path) and "Unsupported" in str(error)):
                raise
            return read_inert(path)  # it holds objects beside its tensors
    except Exception as error:  # an altered pickle raises whatever it happens to run into
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # torch's own advice is to let the file run code
            reason = "damaged, or it holds more than tensors"
        raise UserError(
            f"'{path}' is not a readable state dict ({reason}); save it with torch.save(net.state_dict(), …)"
        ) from None


def scripted(path: Path) -> bool:
    """Whether it is a TorchScript archive."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors, and under their other names those that `save_model` of safetensors left out: tied weights, whose second
    names it notes beside the file's."""
    with safe_open(path, framework="pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        also = {key: kept for key, kept in (file.metadata() or {}).items() if kept in state and key not in state}
    return state | {key: state[kept] for key, kept in also.items()}


def states(content: Any, place: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every dict in the content that has tensors, by its place (`model`, `ema.shadow`, "" for the file's own), outermost
    first; of each its tensors alone. An empty file is one empty dict."""
    if not isinstance(content, Mapping) or depth > DEPTH:
        return
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if tensors or not (place or content):
        yield place, tensors
    for key, value in content.items():
        if isinstance(key, str):
            yield from states(value, f"{place}.{key}" if place else key, depth + 1)
