"""Requirements on a network before any graph is made of it: float32 throughout, one name a parameter, logits [B, K]."""

import torch
from torch import Tensor, nn

from mentor_mentee.errors import UserError
from mentor_mentee.objective.taps import evaluating


def require_exportable(network: nn.Module, example: Tensor) -> Tensor:
    """The logits of `example` [B, …]. Raises `UserError` for weights that are not float32, a parameter known by two names, a
    network that does not run on `example`, and an output that is no logits."""
    for kind, tensors in (("parameter", network.named_parameters()), ("buffer", network.named_buffers())):
        for name, tensor in tensors:
            if tensor.dtype != torch.float32 and (tensor.is_floating_point() or tensor.is_complex()):
                raise UserError(
                    f"{kind} '{name}' of {type(network).__name__} is {str(tensor.dtype).removeprefix('torch.')}; expected "
                    "float32, the only type that the device learns in: call network.float()"
                )
    require_one_name(network)
    try:
        with evaluating(network), torch.no_grad():
            logits = network(example)
    except UserError:
        raise
    except Exception as error:  # whatever a stranger's forward raises
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{type(network).__name__} does not run on samples of shape {list(example.shape[1:])}: {reason}"
        ) from None
    if not isinstance(logits, Tensor):
        raise UserError(
            f"{type(network).__name__} puts out a {type(logits).__name__}; expected one tensor, logits [B, K]"
        )
    if logits.dtype != torch.float32 or logits.dim() != 2 or len(logits) != len(example):
        raise UserError(
            f"{type(network).__name__} puts out {str(logits.dtype).removeprefix('torch.')} of shape {list(logits.shape)} for "
            f"{len(example)} samples; expected float32 logits [{len(example)}, K]"
        )
    return logits


def require_one_name(network: nn.Module) -> None:
    names: dict[int, str] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        first = names.setdefault(id(parameter), name)
        if first != name:
            raise UserError(
                f"parameters '{first}' and '{name}' of {type(network).__name__} are one (tied weights); the device knows a "
                "parameter by one name: copy the weights, or use the same module in both places under one name"
            )
