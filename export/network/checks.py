"""Requirements on a network before any graph is made of it: float32 throughout, one name a parameter, logits [B, K] for any B."""

import copy
import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn

from export.network.batch_norm import smallest_map
from export.network.modes import reason_in
from mentor_mentee.errors import UserError
from mentor_mentee.objective.taps import evaluating

TORCH = Path(torch.__file__).parent
BATCHES = (1, 2, 5)
INFLUENCE = 1e-3  # relative to the largest logit
REPEATED = 1e-5  # the same, for a second time


def require_exportable(network: nn.Module, example: Tensor) -> Tensor:
    """The logits of `example` [B, …]. Raises `UserError` for weights that are not float32, a parameter known by two names, a
    network that does not run on `example`, an output that is no logits for some batch."""
    for kind, tensors in (("parameter", network.named_parameters()), ("buffer", network.named_buffers())):
        for name, tensor in tensors:
            if tensor.dtype != torch.float32 and (tensor.is_floating_point() or tensor.is_complex()):
                raise UserError(
                    f"{kind} '{name}' of {type(network).__name__} is {str(tensor.dtype).removeprefix('torch.')}; expected "
                    "float32, the only type that the device learns in: call network.float()"
                )
    require_one_name(network)
    require_python(network)
    refuse_projections(network)
    try:
        with evaluating(network), torch.no_grad():
            logits = network(example)
    except UserError:
        raise
    except Exception as error:  # whatever a stranger's forward raises
        reason = reason_in(error)
        raise UserError(
            f"{type(network).__name__} does not run on samples of shape {list(example.shape[1:])}: {reason}"
            f"{token_advice(network)}"
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
    if not bool(torch.isfinite(logits).all()):
        raise UserError(
            f"{type(network).__name__} puts out logits that are not finite on random samples of N(0, 1); expected finite ones: "
            "look for a log or a root of what may be negative, a division by 0, and weights that are NaN"
        )
    require_any_batch(network, example.shape[1:], logits.shape[1])
    return logits


def refuse_projections(network: nn.Module) -> None:
    """Raises `UserError` for an LSTM with proj_size: ONNX's has no projection, and torch's exporter leaves its weight out."""
    for path, layer in network.named_modules():
        if isinstance(layer, nn.LSTM) and layer.proj_size:
            raise UserError(
                f"{path or 'the network itself'}: {type(layer).__name__} with proj_size={layer.proj_size} has no ONNX operator, "
                "whether it trains or not; expected proj_size=0: put a Linear behind it where its output has to be smaller"
            )


def token_advice(network: nn.Module) -> str:
    if not any(isinstance(module, nn.Embedding | nn.EmbeddingBag) for module in network.modules()):
        return ""
    return "; its nn.Embedding wants token numbers, and the device feeds float32 samples: embed them before the network"


def require_any_batch(network: nn.Module, shape: Sequence[int], classes: int) -> None:
    """Raises `UserError` where a network does not put out [B, K] for every B."""
    samples = torch.randn(max(BATCHES), *shape, generator=torch.Generator().manual_seed(1))
    name, found = type(network).__name__, dict[int, Tensor]()
    with evaluating(network), torch.no_grad():
        for batch in BATCHES:
            try:
                found[batch] = network(samples[:batch])
            except Exception as error:  # whatever a stranger's forward raises
                reason = reason_in(error)
                raise UserError(
                    f"{name} does not run on a batch of {batch}: {reason}; a device feeds any number of samples: take "
                    "x.shape[0], or flatten(1), where the code has a fixed number, and norms that do not need a batch"
                ) from None
    shapes = {batch: list(logits.shape) for batch, logits in found.items()}
    if any(seen != [batch, classes] for batch, seen in shapes.items()):
        said = ", ".join(f"{seen} for {batch}" for batch, seen in shapes.items())
        raise UserError(
            f"{name} puts out logits of shape {said} samples; expected [B, {classes}] for any batch B: where it has squeeze(), "
            "which drops a batch of one, write flatten(1), or the axis, squeeze(-1)"
        )


def require_independent(network: nn.Module, shape: Sequence[int]) -> None:
    """Raises `UserError` where a sample's logits depend on the others of its batch, or on chance."""
    samples = torch.randn(max(BATCHES), *shape, generator=torch.Generator().manual_seed(1))
    require_repeatable(network, samples)
    if (seen := influence(network, samples)) > INFLUENCE:
        raise UserError(
            f"{type(network).__name__} puts out other logits for a sample alone than in a batch of {len(samples)} (by {seen:.1e} "
            "of the largest): its samples influence one another; expected each to stand alone: give a BatchNorm running "
            "statistics, an attention or RNN batch_first=True"
        )


def require_backward(network: nn.Module, shape: Sequence[int]) -> None:
    """Raises `UserError` where torch itself cannot go back through the forward, as through a value overwritten in place."""
    samples = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    try:
        backward(network, samples)
    except Exception as error:  # torch's own, and whatever a stranger's backward raises
        with warnings.catch_warnings(record=True) as said, torch.autograd.set_detect_anomaly(True):
            warnings.simplefilter("always")
            with suppress(Exception):
                backward(network, samples)
        line = last_own_line(" ".join(str(warning.message) for warning in said))
        overwritten = "modified by an inplace operation" in str(error)
        todo = "; write that operation, or the one that overwrites its value, not in place" if overwritten else ""
        raise UserError(
            f"{type(network).__name__} cannot be trained in torch: the gradient{f' of {line}' if line else ''} fails: "
            f"{reason_in(error)}{todo}"
        ) from None


def backward(network: nn.Module, samples: Tensor) -> None:
    with evaluating(network), torch.enable_grad():
        logits = network(samples)
        try:
            if logits.requires_grad:
                logits.sum().backward()  # a checkpoint with use_reentrant=True knows no autograd.grad
        finally:
            network.zero_grad()


def last_own_line(text: str) -> str:
    """`net.py:12 (y += 1)`: the innermost line of a printed traceback that is not torch's; "" where there is none."""
    lines = re.findall(r'File "([^"]+)", line (\d+), in [^\n]*\n\s*([^\n]*)', text)
    own = [found for found in lines if not Path(found[0]).is_relative_to(TORCH) and found[0] != __file__]
    return f"{Path(own[-1][0]).name}:{own[-1][1]} ({own[-1][2]})" if own else ""


def require_repeatable(network: nn.Module, samples: Tensor) -> None:
    """Raises `UserError` where logits are others the second time."""
    with evaluating(network), torch.no_grad():
        first, second = network(samples), network(samples)
    if float((first - second).abs().max()) > REPEATED * float(first.abs().max()):
        raise UserError(
            f"{type(network).__name__} puts out other logits for the same samples the second time: it draws at random in "
            "eval mode, or keeps a state; expected the same: F.dropout takes training=self.training, noise belongs into "
            "training mode"
        )


def influence(network: nn.Module, samples: Tensor) -> float:
    """max |together − alone| of the logits, over the largest; of float64 where float32 may not be exact enough to tell."""
    off = apart_alone(network, samples)
    if off > INFLUENCE:
        try:
            off = apart_alone(copy.deepcopy(network).double(), samples.double())
        except Exception:  # float64 is more than a stranger's forward need take
            return off
    return off


def apart_alone(network: nn.Module, samples: Tensor) -> float:
    with evaluating(network), torch.no_grad():
        together, alone = network(samples), torch.cat([network(sample[None]) for sample in samples])
    return float((together - alone).abs().max() / together.abs().max().clamp(min=1e-6))


def batches_for(network: nn.Module, shape: Sequence[int]) -> Sequence[int]:
    """Batches that a trial takes a step of: a BatchNorm on the batch's statistics may have no variance in a batch of one."""
    return BATCHES[1:] if smallest_map(network, torch.zeros(2, *shape)) == 1 else BATCHES


def require_python(network: nn.Module) -> None:
    for path, layer in network.named_modules():
        if isinstance(layer, torch.jit.ScriptModule):
            raise UserError(
                f"layer '{path}' of {type(network).__name__} is in TorchScript, which is neither read nor traced; give the "
                "Python module that was scripted"
            )


def require_one_name(network: nn.Module) -> None:
    names: dict[int, str] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        first = names.setdefault(id(parameter), name)
        if first != name:
            raise UserError(
                f"parameters '{first}' and '{name}' of {type(network).__name__} are one (tied weights); the device knows a "
                "parameter by one name: copy the weights, or use the same module in both places under one name"
            )
