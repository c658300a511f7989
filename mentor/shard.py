"""A mentor that does not fit on one device: each process of a training holds a part of every weight (torch's FSDP).

A unit's weights are gathered when it runs and given up again after it, so a process holds its part and one unit at a time. All
processes must ask at once, each about its own images.
"""

from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from mentor_mentee.errors import UserError

PARTS = 16  # units have at least this part of the weights


def shard(network: nn.Module, device: torch.device) -> None:
    """In place, over all processes of torch's default group; the parts lie on `device`. Raises `UserError` for a network whose
    layers cannot be taken apart."""
    if any(isinstance(module, torch.jit.ScriptModule) for module in network.modules()):
        raise UserError(
            "mentor.shard=true with a TorchScript network, whose layers cannot be taken apart; expected its module"
        )
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    try:
        for unit in [*units(network), network]:
            fully_shard(unit, mesh=mesh, reshard_after_forward=True)
    except (ValueError, RuntimeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"mentor.shard=true: torch cannot share out {type(network).__name__} ({reason}); expected mentor.shard=false, and "
            "mentor.precision=bf16-mixed or cached answers (cache.answers=true) to save memory"
        ) from None


def units(network: nn.Module) -> Iterator[nn.Module]:
    """Modules with weights enough, inner ones first; what an inner one holds does not count for those around it."""
    least = sum(value.numel() for value in network.parameters()) / PARTS
    taken: set[nn.Parameter] = set()
    for module in reversed([*network.modules()][1:]):  # a module comes after those that hold it
        own = {value for value in module.parameters() if value not in taken}
        if sum(value.numel() for value in own) >= least and not isinstance(module, nn.ModuleList | nn.ModuleDict):
            taken |= own
            yield module
