"""Reads weights into a network: finds them in the file, and says what was taken and what was not."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mentor.weights.content import read_content, states
from mentor.weights.fit import Fit, fits, is_averaged
from mentor_mentee.errors import UserError, did_you_mean

TOP = "."  # the file's own dict, as a place
MEMBERS = "members."  # of an ensemble: each has a file, and maybe wrappers, of its own


def load_weights(network: nn.Module, path: Path, without: str | None = None, at: str | None = None) -> str:
    """A `.safetensors` file, a torch file or a TorchScript archive; no code in it runs, and saved on CUDA is fine.

    Returns and raises as `load_content` does; raises `UserError` for a file that is missing or unreadable too.
    """
    return load_content(network, read_content(path), f"weights '{path}'", without, at)


def load_content(
    network: nn.Module, content: Any, called: str, without: str | None = None, at: str | None = None
) -> str:
    """Loads the one dict in `content` that has all of the network's tensors, maybe under a prefix. `without`: path of a layer
    whose tensors stay as they are; `at`: the place to take, of several that fit; `called` is for messages.

    Returns what there is to say of it: where it was found, what was skipped, what was cast; "" for a state dict that is the
    network's own. Raises `UserError` where none fits, or several do; the network is then as it was.
    """
    found = [
        chosen_fit(part, inside, called, without, at, prefix) for part, inside, prefix in members(network, content)
    ]
    for part, one, _ in found:
        require_values(part, one, called)
    for part, one, _ in found:
        part.load_state_dict(
            {name: value for name, value in one.given.items() if name in part.state_dict()}, strict=False
        )
    lines = list(dict.fromkeys(said(part, one, others) for part, one, others in found))
    lines = [line for line in lines if line]
    return f"{called}: {'; '.join(lines)}" if lines else ""


def require_values(network: nn.Module, found: Fit, called: str) -> None:
    """Raises `UserError` for a tensor whose numbers are not there, or that float32 does not hold."""
    for name, own in network.state_dict().items():
        given = found.given.get(name)
        if given is None:
            continue
        if given.is_meta or given.layout != torch.strided:
            kind = "without values (on the meta device)" if given.is_meta else "sparse"
            raise UserError(
                f"{called}: {name} is {kind}; expected plain numbers: save value.to_dense() of a real tensor"
            )
        if own.is_floating_point() and not bool(given.to(own.dtype).isfinite().all()):
            raise UserError(
                f"{called}: {name} has values that are not finite in {short(own.dtype)}; expected finite ones: the training that "
                "made them diverged, or the file is damaged: take an earlier one"
            )


def chosen_fit(
    network: nn.Module, content: Any, called: str, without: str | None, at: str | None, prefix: str
) -> tuple[nn.Module, Fit, list[str]]:
    """The network, what to load into it, and the names of other places that fit. `prefix` of its keys, for messages."""
    every = fits(network, content, without)
    if not every:
        raise UserError(
            f"{called} hold a {type(content).__name__}{keys_of(content)}, not a state dict; save it with "
            "torch.save(net.state_dict(), …)"
        )
    if at is not None:
        if not (named := [one for one in every if one.place == at.strip(".")]):
            raise UserError(
                f"{called} have nothing of {type(network).__name__} at '{at}'{did_you_mean(at, [one.place for one in every])}; "
                f"they hold {contents(content)}"
            )
        every = named
    complete = distinct([one for one in every if one.complete])
    if not complete:
        raise UserError(
            f"{called} do not fit {type(network).__name__}: {misfit(network, every[0], content, prefix)}; choose the network "
            "they are of"
        )
    averaged = [one for one in complete if one.averaged]
    if len(complete) > 1 and len(averaged) != 1:
        raise UserError(
            f"{called} hold {len(complete)} networks that fit {type(network).__name__}; choose one of them: "
            f"{' or '.join(f'mentor.weights_at={plainly(one.place or TOP)}' for one in complete)}"
        )
    chosen = averaged[0] if len(complete) > 1 else complete[0]
    return network, chosen, [one.place or TOP for one in complete if one is not chosen]


def distinct(found: Sequence[Fit]) -> list[Fit]:
    """Without those whose tensors are those of one before."""
    kept: list[Fit] = []
    for one in found:
        if not any(same(one.given, other.given) for other in kept):
            kept.append(one)
    return kept


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]) for name in a)


def members(network: nn.Module, content: Any) -> Iterator[tuple[nn.Module, Any, str]]:
    """The network and the content; of an ensemble and the file that `mentor.ensemble` made, each member, its part and the
    prefix of its keys."""
    if not isinstance(content, Mapping) or not all(
        isinstance(key, str) and key.startswith(MEMBERS) and key.count(".") > 1
        for key in (*content, *network.state_dict())
    ):
        yield network, content, ""
        return
    for number in range(len(network.get_submodule(MEMBERS.rstrip(".")))):  # type: ignore[arg-type]
        prefix = f"{MEMBERS}{number}."
        part = {key.removeprefix(prefix): value for key, value in content.items() if key.startswith(prefix)}
        yield network.get_submodule(prefix.rstrip(".")), part, prefix


def said(network: nn.Module, found: Fit, others: Sequence[str]) -> str:
    own = network.state_dict()
    parts = [f"'{found.place}' is taken"] if found.place else []
    if others:
        parts.append(f"{' and '.join(map(repr, others))} would fit too (mentor.weights_at={others[0]})")
    if found.unwrapped:
        parts.append(f"{' and '.join(map(repr, found.unwrapped))} inside its names is taken off")
    if found.skipped:
        parts.append(f"skipped {listed(found.skipped)}, which {type(network).__name__} lacks")
    cast = {
        f"{short(found.given[name].dtype)} as {short(value.dtype)}"
        for name, value in own.items()
        if name in found.given and value.is_floating_point() and found.given[name].dtype != value.dtype
    }
    return "; ".join([*parts, *sorted(cast)])


def misfit(network: nn.Module, best: Fit, content: Any, prefix: str) -> str:
    """Error text for the place that fits best: the first misfit of each kind, the file's nearest key, and what the file holds."""
    own = network.state_dict()
    kinds = (("missing", best.missing), ("unexpected", best.unexpected), ("of another shape", best.misshapen))
    details = [
        f"{kind} {prefix}{keys[0]}{f' and {len(keys) - 1} more' if len(keys) > 1 else ''}"
        for kind, keys in kinds
        if keys
    ]
    if best.misshapen:
        key = best.misshapen[0]
        kind = best.given[key].dtype, own[key].dtype
        types = f", {short(kind[0])} for {short(kind[1])}" if best.given[key].shape == own[key].shape else ""
        details[-1] += f" (file {list(best.given[key].shape)}, network {list(own[key].shape)}{types})"
    if best.missing and (near := nearest(best.missing[0], own, best)):
        details[0] += f" (the file has {near})"
    right = len(own) - len(best.missing) - len(best.misshapen)
    where = f"at '{best.place}' " if best.place else ""
    return f"{'; '.join(details)}; {where}{max(0, right)} of its {len(own)} tensors fit; the file holds {contents(content)}"


def nearest(missing: str, own: Mapping[str, Tensor], found: Fit) -> str:
    """A key of the file's that is not used and has the shape and the last name of the missing one."""
    last, shape = missing.rpartition(".")[2], own[missing].shape
    unused = {key: value for key, value in found.given.items() if key not in own}
    alike = [key for key, value in unused.items() if key.rpartition(".")[2] == last and value.shape == shape]
    return alike[0] if len(alike) == 1 else ""


def contents(content: Any) -> str:
    """`model (122 tensors: conv1.weight [64, 3, 7, 7], …), ema (…)`"""
    parts = []
    for place, state in states(content):
        some = ", ".join(f"{key} {list(value.shape)}" for key, value in [*state.items()][:2])
        more = ", …" if len(state) > 2 else ""
        parts.append(f"{place + ' ' if place else ''}({len(state)} tensors: {some}{more})")
    rest = f" and {len(parts) - 3} more dicts" if len(parts) > 3 else ""
    return ", ".join(parts[:3]) + rest if parts else f"a {type(content).__name__} without tensors"


def keys_of(content: Any) -> str:
    keys = [str(key) for key in content] if isinstance(content, Mapping) else []
    return f" of {listed(keys)}" if keys else ""


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a file, for want of a network the largest one; of several of one size the averaged one.

    Raises `UserError` for a file that is unreadable, or that holds none."""
    content = read_content(path)
    found = [*states(content)]
    if not found:
        raise UserError(
            f"'{path}' holds a {type(content).__name__}, not a state dict; save it with torch.save(net.state_dict(), …)"
        )
    return max(found, key=lambda one: (len(one[1]), is_averaged(one[0])))[1]


def plainly(place: str) -> str:
    """In quotes where it has signs that would break the line."""
    return place if place.isprintable() else repr(place)


def listed(keys: Sequence[str]) -> str:
    return f"{', '.join(keys[:2])}{f' and {len(keys) - 2} more' if len(keys) > 2 else ''}"


def short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
