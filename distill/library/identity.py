"""A mentor without a recipe, known by all but its weights that its answers depend on."""

import functools
import hashlib
import inspect
from collections.abc import Mapping
from enum import Enum
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mentor_mentee.callables import is_standard, package_of
from mentor_mentee.sources import imported_sources, source_of, source_of_function

SIMPLE = (bool, int, float, complex, str, bytes, type(None), type(...), slice, range, torch.dtype)
HOOKS = ("_forward_pre_hooks", "_forward_hooks")
DEEPEST = 6  # values within one another


def network_identity(network: nn.Module) -> str:
    """sha256 over the modules' classes, the source of those that are not torch's, their attributes, as strides or a tensor that
    is no buffer, buffers that are not saved, and their hooks. What a forward reads elsewhere, as a global variable that is set
    while the program runs, is not seen."""
    digest = hashlib.sha256()
    if isinstance(network, torch.jit.ScriptModule):
        digest.update(str(network.inlined_graph).encode())
    ours, seen = vars(nn.Module()), {id(module) for module in network.modules()}
    for name, module in network.named_modules():
        options: dict[str, Any] = {key: value for key, value in vars(module).items() if key not in ours}
        options |= {key: getattr(module, key) for key in getattr(module, "_non_persistent_buffers_set", ())}
        hooks = [*(hook for kind in HOOKS for hook in vars(module).get(kind, {}).values())]
        about = f"{name} {type(module).__module__}.{type(module).__qualname__} {plain(options, seen)}"
        digest.update(f"{about} {plain(hooks, seen)}".encode(errors="surrogateescape"))
    for kind in dict.fromkeys(type(module) for module in network.modules()):
        if not kind.__module__.startswith("torch."):
            static = {key: value for key, value in vars(kind).items() if isinstance(value, SIMPLE) and key[:2] != "__"}
            digest.update("\0".join([source_of(kind), *imported_sources(kind), str(plain(static, seen))]).encode())
    return digest.hexdigest()


def plain(value: Any, seen: set[int], depth: int = 0) -> Any:
    """The parts of an attribute that print the same in every process; of the rest, and of objects `seen` before, its type."""
    kind = type(value).__qualname__
    if isinstance(value, SIMPLE):
        return value
    if isinstance(value, Enum):
        return str(value)
    if isinstance(value, Tensor | np.ndarray):
        return [kind, *content(value)]
    if inspect.isbuiltin(value) or inspect.isclass(value):
        return value.__qualname__
    if depth > DEEPEST:
        return kind
    if isinstance(value, Mapping):
        return [
            (str(key), plain(one, seen, depth + 1)) for key, one in sorted(value.items(), key=lambda item: str(item[0]))
        ]
    if isinstance(value, list | tuple | torch.Size):
        return [plain(one, seen, depth + 1) for one in value]
    if isinstance(value, set | frozenset):
        return sorted(str(plain(one, seen, depth + 1)) for one in value)
    if isinstance(value, functools.partial):
        return [kind, *(plain(one, seen, depth + 1) for one in (value.func, value.args, value.keywords))]
    if inspect.ismethod(value):
        return [kind, plain(value.__func__, seen, depth + 1)]
    if inspect.isfunction(value):
        return [value.__qualname__, source_of_function(value), *enclosed(value, seen, depth + 1)]
    home = type(value).__module__
    own = isinstance(value, SimpleNamespace | nn.Module)  # a module here is in a list, or in an object
    own |= not (is_standard(home) or package_of(home) in ("torch", "numpy"))
    if not own or id(value) in seen:
        return kind
    seen.add(id(value))
    return [kind, plain(getattr(value, "__dict__", {}), seen, depth + 1)]


def enclosed(function: Any, seen: set[int], depth: int) -> list[Any]:
    """Defaults of a function, and what it closes over; of lists and the like, which it may fill, the type alone."""
    found: list[Any] = [plain(given, seen, depth) for given in (function.__defaults__, function.__kwdefaults__)]
    for cell in function.__closure__ or ():
        try:
            inside = cell.cell_contents
        except ValueError:  # not yet set
            continue
        filled = isinstance(inside, list | dict | set)
        found.append(type(inside).__qualname__ if filled else plain(inside, seen, depth))
    return found


def content(value: Tensor | np.ndarray) -> tuple[str, list[int], str]:
    """dtype, shape and a digest of the numbers; of a tensor without storage none."""
    digest = ""
    if isinstance(value, np.ndarray) and value.dtype != object:
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
    elif isinstance(value, Tensor) and value.layout == torch.strided and value.device.type != "meta":
        flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest = hashlib.sha256(flat.numpy().data).hexdigest()
    return str(value.dtype), list(value.shape), digest
