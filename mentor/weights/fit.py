"""Finds the weights of a network in what a file holds: which of its dicts, under which prefix, and what is left over.

A *place* is a dict in the file and the prefix that the network's keys have there: `state_dict_ema`, `model.student`.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from mentor.weights.content import states

UNCOUNTED = "num_batches_tracked"  # a BatchNorm's count of its batches, which files of before torch 0.4.1 lack
COUNTERS = ("total_ops", "total_params")  # thop's
LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)  # in which one more entry is one more layer
PREFIXES = 8  # the most frequent ones that are tried in a dict
WRAPPERS = ("_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
AVERAGED = ("ema", "averag", "swa", "shadow")  # in the names of averaged weights


@dataclass(frozen=True)
class Fit:
    """One place of the file against a network."""

    place: str
    given: dict[str, Tensor]  # in the network's names, all that lies there
    missing: list[str]  # of the network
    misshapen: list[str]  # of another shape or kind
    unexpected: list[str]  # that the network lacks, and that would change what it puts out
    skipped: list[str] = field(default_factory=list)  # in the file's names
    unwrapped: tuple[str, ...] = ()  # words that were taken out of the file's names

    @property
    def complete(self) -> bool:
        return not (self.missing or self.misshapen or self.unexpected)

    @property
    def averaged(self) -> bool:
        return is_averaged(self.place)


def is_averaged(place: str) -> bool:
    """Whether a place's name is that of averaged weights."""
    return any(word in place.lower() for word in AVERAGED)


def fits(network: nn.Module, content: Any, without: str | None = None) -> list[Fit]:
    """The places of the file that hold any of the network's keys, the best first; of a file that holds none its largest
    dict. `without`: path of a layer that is left out on both sides."""
    own = network.state_dict()
    found = []
    for place, state in states(content):
        found += [fit(network, own, state, place, off, on, without) for off, on in prefixes(state, own)]
        if plain := without_inner_wrappers(state):
            words = tuple(word for word in WRAPPERS if any(word in key.split(".") for key in state))
            for off, on in prefixes(plain, own):
                found.append(replace(fit(network, own, plain, place, off, on, without), unwrapped=words))
    return sorted(found, key=lambda one: (not one.complete, len(one.missing) + len(one.misshapen), len(one.unexpected)))


def without_inner_wrappers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same without what wrappers of inner modules add (`features._orig_mod.0.weight`, of one that was compiled or was in
    parallel on its own); empty where there is none, or two names would become one. Those around all of it are prefixes."""
    plain = {}
    for key, value in state.items():
        first, *rest = key.split(".")
        plain[".".join([first, *(part for part in rest if part not in WRAPPERS)])] = value
    return plain if plain.keys() != state.keys() and len(plain) == len(state) else {}


def prefixes(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """(taken off the file's keys, put on them instead): those under which most of the network's keys are found; a network may
    also have a module around all that the file has, as one that wraps another."""
    around = shared_prefix(own)
    counts: Counter[tuple[str, str]] = Counter()
    for key in state:
        parts = key.split(".")
        for start in range(len(parts)):
            rest, off = ".".join(parts[start:]), ".".join(parts[:start])
            for on in {"", around}:
                if on + rest in own:
                    counts[f"{off}." if off else "", on] += 1
    return [pair for pair, _ in counts.most_common(PREFIXES)] or [("", "")]


def shared_prefix(own: Mapping[str, Tensor]) -> str:
    first = {key.partition(".")[0] for key in own}
    nested = all("." in key for key in own)
    return f"{first.pop()}." if len(first) == 1 and nested else ""


def fit(
    network: nn.Module,
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    place: str,
    taken_off: str,
    put_on: str,
    without: str | None,
) -> Fit:
    names = {put_on + key.removeprefix(taken_off): key for key in state if key.startswith(taken_off)}
    given = {name: state[key] for name, key in names.items()}
    given |= {name: given[twin] for name, twin in twins(own).items() if name not in given and twin in given}
    if without is not None:
        own, given = ({k: v for k, v in part.items() if not k.startswith(f"{without}.")} for part in (own, given))
    extra = [name for name in given if name not in own]
    counted = counters(given)
    unexpected = [name for name in extra if name not in counted and changes(network, name)]
    return Fit(
        place=".".join(part for part in (place, taken_off.rstrip(".")) if part),
        given=given,
        missing=[name for name in own if name not in given and not name.endswith(UNCOUNTED)],
        misshapen=[name for name in own if name in given and not alike(own[name], given[name])],
        unexpected=unexpected,
        skipped=[key for key in state if not key.startswith(taken_off)]
        + [names[name] for name in extra if name not in unexpected],
    )


def twins(own: Mapping[str, Tensor]) -> dict[str, str]:
    """{name: another name of the same tensor}: tied weights, of which a file may have only one."""
    names: dict[tuple[int, torch.Size], list[str]] = {}
    for name, value in own.items():
        if value.numel():
            names.setdefault((value.data_ptr(), value.shape), []).append(name)
    return {name: other for same in names.values() for name in same for other in same if other != name}


def alike(own: Tensor, given: Tensor) -> bool:
    """Says whether both have one shape and kind: a float takes floats of any precision, a whole number whole ones."""
    floats = own.is_floating_point(), given.is_floating_point()
    return own.shape == given.shape and floats[0] == floats[1] and own.is_complex() == given.is_complex()


def counters(given: Mapping[str, Tensor]) -> set[str]:
    """Names of a profiler's counters (`total_ops`): one number each, whole or in float64, at half of the modules or more."""
    ends: dict[str, list[str]] = {}
    for name in given:
        ends.setdefault(name.rpartition(".")[2], []).append(name)
    modules = {name.rpartition(".")[0] for name in given}
    return {
        name
        for last, names in ends.items()
        if last in COUNTERS or (2 * len(names) >= len(modules) and all(counts(given[name]) for name in names))
        for name in names
    }


def counts(value: Tensor) -> bool:
    return value.numel() == 1 and (value.dtype == torch.float64 or not value.is_floating_point())


def changes(network: nn.Module, name: str) -> bool:
    """Whether a tensor that the network lacks would change what it puts out: one of a layer that it has (a bias), or of one
    more layer inside it. Not one of a module beside all of its layers, as a criterion's or an auxiliary head's."""
    path, _, last = name.rpartition(".")
    modules = dict(network.named_modules())
    if path in modules:
        return last != UNCOUNTED
    return path.partition(".")[0] in modules or isinstance(network, LISTS)
