"""Which layers a run compares: those named by hand, those found in the nets, or both."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from data.errors import UserError
from data.view import View
from distill.fit import Machine
from distill.mentors import FoundMentor
from objective.mapping import match_stages

AUTO = "_auto_"


def layer_pairs(
    given: Mapping[str, Any], mentor: FoundMentor, mentee: nn.Module, view: View, examples: Tensor, machine: Machine
) -> dict[str, Sequence[str]]:
    """The pairs given by hand, and with `_auto_: true` those that the nets' stages suggest, which are printed."""
    by_hand = {name: pair for name, pair in given.items() if name != AUTO}
    if given.get(AUTO, False) not in (True, False):
        raise UserError(f"probes.{AUTO}={given[AUTO]}; expected true or false")
    if not given.get(AUTO, False):
        return by_hand
    matches = match_stages(mentor.network, mentor.view(examples), mentee, view(examples))
    for match in matches:
        machine.console.print(
            f"probe {match.name}: mentor {match.mentor.path} {list(match.mentor.shape)} - mentee {match.mentee.path} "
            f"{list(match.mentee.shape)}, input shrunk by {match.mentor.shrunk:g} and {match.mentee.shrunk:g}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    return {match.name: [match.mentor.path, match.mentee.path] for match in matches} | by_hand
