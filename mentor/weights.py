"""Reads a state dict into a network."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mentor.weights_file import require_file
from mentor_mentee.errors import UserError

MEMBERS = "members."  # of an ensemble: each has a file, and maybe wrappers, of its own
WRAPPERS = ("module.", "_orig_mod.", "model.", "network.")  # DataParallel, torch.compile, trainers
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")  # heads of GoogLeNet and Inception v3 that only their training used
UNCOUNTED = "num_batches_tracked"  # a BatchNorm's count of its batches, which files of before torch 0.4.1 lack


def load_weights(network: nn.Module, path: Path, without: str | None = None) -> None:
    """A `.safetensors` file, or a torch file (read with `weights_only`, so no code in it runs; saved on CUDA is fine).

    A wrapper's prefix that all keys share is taken off. Raises `UserError` for a file that is missing or unreadable, and as
    `load_state` does.
    """
    load_state(network, read_state(path), f"weights '{path}'", without)


def load_state(network: nn.Module, state: Mapping[str, Tensor], called: str, without: str | None = None) -> None:
    """`without`: path of a layer whose tensors stay as they are, whatever the state has for it. `called` is for the message.

    Raises `UserError` where keys or shapes do not fit; the network is then as it was.
    """
    own, fitting = matched(network, state, without)
    if details := misfit(own, fitting):
        raise UserError(f"{called} do not fit {type(network).__name__}: {details}; choose the network they are of")
    network.load_state_dict(fitting, strict=False)


def matched(
    network: nn.Module, state: Mapping[str, Tensor], without: str | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The network's own state and the given one in its names, both less what is not to be loaded."""
    own = network.state_dict()
    given = strip_members(strip_wrappers(dict(state), set(own)), set(own))
    if without is not None:
        own, given = (
            {key: value for key, value in part.items() if not key.startswith(f"{without}.")} for part in (own, given)
        )
    return own, {key: value for key, value in given.items() if key in own or not key.startswith(AUXILIARY)}


def misfit(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """The first key of each kind that does not fit, or the empty string."""
    missing = [key for key in own if key not in given and not key.endswith(UNCOUNTED)]
    unexpected = [key for key in given if key not in own]
    misshapen = [key for key in own if key in given and own[key].shape != given[key].shape]
    details = [
        f"{kind} {keys[0]}{f' and {len(keys) - 1} more' if len(keys) > 1 else ''}"
        for kind, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
        if keys
    ]
    if misshapen:
        key = misshapen[0]
        details[-1] += f" (file {list(given[key].shape)}, network {list(own[key].shape)})"
    return "; ".join(details)


def read_state(path: Path) -> dict[str, Tensor]:
    require_file(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # an altered pickle raises whatever it happens to run into
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # torch's own advice is to let the file run code
            reason = "damaged, or it holds more than tensors"
        raise UserError(
            f"'{path}' is not a readable state dict ({reason}); save it with torch.save(net.state_dict(), …)"
        ) from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise UserError(
            f"'{path}' holds a {type(content).__name__}, not a state dict; save it with torch.save(net.state_dict(), …)"
        )
    return content


def strip_wrappers(state: dict[str, Tensor], own: set[str]) -> dict[str, Tensor]:
    for _ in range(3):  # wrappers hold wrappers, in any order: torch.compile(DataParallel(net))
        for prefix in WRAPPERS:
            if state and all(key.startswith(prefix) for key in state) and not any(key in own for key in state):
                state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def strip_members(state: dict[str, Tensor], own: set[str]) -> dict[str, Tensor]:
    """Wrappers inside the members of an ensemble, each member by itself."""
    if not all(key.startswith(MEMBERS) and key.count(".") > 1 for key in state):
        return state
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        _, number, rest = key.split(".", 2)
        parts.setdefault(f"{MEMBERS}{number}.", {})[rest] = value
    return {
        place + key: value
        for place, part in parts.items()
        for key, value in strip_wrappers(
            part, {one.removeprefix(place) for one in own if one.startswith(place)}
        ).items()
    }
