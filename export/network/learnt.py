"""Parameters that were learnt after the run, as those of a fleet were: they take the place of the checkpoint's."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from export.network.batch_norm import running_statistics
from mentor_mentee.errors import UserError


def set_learnt(network: nn.Module, parameters: Mapping[str, NDArray[np.float32]]) -> str:
    """Writes `parameters`, by the names that the bundle has for what trains, into the network as it is on the device; a line for
    a person. Raises `UserError` for another name or shape, and for numbers that are not finite."""
    known: dict[str, torch.Tensor] = {name: one for name, one in network.named_parameters() if one.requires_grad}
    known |= {name: network.get_buffer(name) for name in running_statistics(network)}
    if strange := sorted(parameters.keys() - known.keys()):
        raise UserError(f"the mentee has no trainable parameter '{strange[0]}'; expected some of {', '.join(known)}")
    with torch.no_grad():
        for name, value in parameters.items():
            if value.size != known[name].numel() or not np.isfinite(value).all():
                raise UserError(
                    f"the parameter '{name}' has shape {list(value.shape)}; expected {list(known[name].shape)}, all finite"
                )
            known[name].copy_(torch.from_numpy(np.array(value, np.float32)).reshape(known[name].shape))
    return f"{len(parameters)} parameters are not the checkpoint's: they were given with the export"
