"""The `probes` group as it is written, read and checked before anything heavy is imported."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mentor_mentee.errors import UserError, did_you_mean
from mentor_mentee.objective.probe_spec import Pairing, parse_probes, require_adapter, require_switch

OPTIONS: dict[str, tuple[Any, str]] = {  # default, description
    "_auto_": (
        False,
        "find pairs, stage by stage: true or false",
    ),
    "_adapter_": (
        "auto",
        "of probes that name none: auto, identity, slice, select, regressor, pca, projector, energy, whole",
    ),
    "_normalise_": (False, "compare in units of the mentor's own mean and std of each channel"),
}


@dataclass(frozen=True)
class ProbeOptions:
    search: bool
    adapter: str  # of every probe that names none
    normalise: bool
    by_hand: dict[str, Pairing]

    @property
    def wanted(self) -> bool:
        """Whether any layers are to be compared."""
        return bool(self.search or self.by_hand)


def read_probes(group: Mapping[str, Any]) -> ProbeOptions:
    """Raises `UserError` for an option that does not exist, a value it cannot have, a probe that is no pair of layers."""
    for name in group:
        if name.startswith("_") and name not in OPTIONS and (name.endswith("_") or did_you_mean(name, OPTIONS)):
            raise UserError(f"probes has no option '{name}'{did_you_mean(name, OPTIONS)}; it has {', '.join(OPTIONS)}")
    search, adapter, normalise = (group.get(name, default) for name, (default, _) in OPTIONS.items())
    require_switch(search, "probes._auto_")
    require_adapter(adapter, "probes._adapter_")
    require_switch(normalise, "probes._normalise_")
    by_hand = {name: value for name, value in group.items() if name not in OPTIONS}
    return ProbeOptions(search, adapter, normalise, parse_probes(by_hand, adapter, normalise))
