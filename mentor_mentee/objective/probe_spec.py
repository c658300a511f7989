"""A probe as it is asked for, before any network is looked at. Imports no torch: a typo must be answered at once."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mentor_mentee.errors import UserError, did_you_mean

KINDS = (
    "identity",
    "slice",
    "select",
    "regressor",
    "pca",
    "projector",
    "energy",
    "whole",
)  # objective.adapters says what each does
AUTO = "auto"
# `auto` stands for these under the metrics that compare no channel with a channel.
OF_METRIC = {"attention": "energy", "similarity": "whole"}


class Pairing(NamedTuple):
    """Two layers by module path, and how they are brought into one space."""

    mentor: str
    mentee: str
    adapter: str = AUTO  # or one of KINDS
    normalise: bool = False


def parse_probes(given: Mapping[str, Any], adapter: str = AUTO, normalise: bool = False) -> dict[str, Pairing]:
    """`{name: [mentor layer, mentee layer]}` or `{name: {mentor, mentee, adapter, normalise}}`; what the latter leaves out
    is `adapter` and `normalise`. Raises `UserError` for anything else.
    """
    return {name: parse_probe(name, value, adapter, normalise) for name, value in given.items()}


def parse_probe(name: str, value: Any, adapter: str, normalise: bool) -> Pairing:
    if not name.isidentifier():
        raise UserError(
            f"probe name '{name}' must be a plain identifier, since it names an input of the exported graph"
        )
    if name == "logits":
        raise UserError("probe name 'logits' is taken by the mentor's logits (input mentor_logits); choose another")
    if isinstance(value, Mapping):
        for key in value:
            if key not in Pairing._fields:
                raise UserError(
                    f"probe '{name}' has no option '{key}'{did_you_mean(str(key), Pairing._fields)}; it has "
                    f"{', '.join(Pairing._fields)}"
                )
        pairing = Pairing(**{"mentor": "", "mentee": "", "adapter": adapter, "normalise": normalise} | dict(value))
    elif isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
        pairing = Pairing(value[0], value[1], adapter, normalise)
    else:
        raise UserError(f"probe '{name}' is {value!r}; expected two module paths: [mentor layer, mentee layer]")
    for path in pairing[:2]:
        if not isinstance(path, str) or not path:
            raise UserError(f"probe '{name}' is {value!r}; expected two module paths: [mentor layer, mentee layer]")
    require_adapter(pairing.adapter, f"probe '{name}'")
    require_switch(pairing.normalise, f"probe '{name}': normalise")
    return pairing


def require_adapter(kind: Any, where: str) -> None:
    if kind not in (AUTO, *KINDS):
        raise UserError(
            f"{where} asks for the adapter {kind!r}{did_you_mean(str(kind), (AUTO, *KINDS))}; expected "
            f"{', '.join((AUTO, *KINDS[:-1]))} or {KINDS[-1]}"
        )


def require_switch(value: Any, where: str) -> None:
    if not isinstance(value, bool):
        raise UserError(f"{where}={value}; expected true or false")
