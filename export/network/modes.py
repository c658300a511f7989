"""Eval mode and copies of a stranger's network, whose own `train()` and attributes may stand in the way."""

import copy

from torch import nn

from mentor_mentee.errors import UserError


def in_eval_mode(network: nn.Module) -> nn.Module:
    """The network in eval mode, whatever its own train() returns. Raises `UserError` where that does not let it."""
    try:
        network.eval()
    except Exception as error:
        raise UserError(
            f"{type(network).__name__} cannot be set to eval mode ({error}); its train() must take mode=True"
        ) from None
    return network


def copied(network: nn.Module) -> nn.Module:
    """A copy in eval mode. Raises `UserError` for a network that holds what cannot be copied."""
    try:
        made = copy.deepcopy(network)
    except Exception as error:  # whatever a stranger's attributes raise
        raise UserError(
            f"{type(network).__name__} cannot be copied, as an export needs it: {reason_in(error)}; expected parameters, buffers "
            "and plain values: no lock or open file among its attributes, no tensor computed from parameters in __init__"
        ) from None
    return in_eval_mode(made)


def reason_in(error: Exception) -> str:
    """In one line, with its class where it says nothing."""
    return " ".join(str(error).split())[:300] or type(error).__name__
