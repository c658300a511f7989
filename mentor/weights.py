"""Reads a state dict into a network."""

import pickle
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from data.errors import UserError

WRAPPERS = ("module.", "_orig_mod.", "model.", "network.")  # DataParallel, torch.compile, trainers


def load_weights(network: nn.Module, path: Path) -> None:
    """A `.safetensors` file, or a torch file (read with `weights_only`, so no code in it runs; saved on CUDA is fine).

    A wrapper's prefix that all keys share is taken off. Raises `UserError` for a file that is missing, unreadable or
    whose keys or shapes do not fit; the network is then as it was.
    """
    state = strip_wrappers(read_state(path), set(network.state_dict()))
    own = network.state_dict()
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    misshapen = [key for key in own if key in state and own[key].shape != state[key].shape]
    if missing or unexpected or misshapen:
        details = [
            f"{kind} {keys[0]}{f' and {len(keys) - 1} more' if len(keys) > 1 else ''}"
            for kind, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
            if keys
        ]
        if misshapen:
            key = misshapen[0]
            details[-1] += f" (file {list(state[key].shape)}, network {list(own[key].shape)})"
        raise UserError(
            f"weights '{path}' do not fit {type(network).__name__}: {'; '.join(details)}; choose the network they are of"
        )
    network.load_state_dict(state)


def read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"no weights at '{path}'; expected a .safetensors file or a torch file with a state dict")
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
