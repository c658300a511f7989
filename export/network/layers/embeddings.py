"""Embeddings whose forward or gradient is more than looking rows up: a padding row is held, others are refused by name.

Axes: V rows, D values a row.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.network.fold import replace
from mentor_mentee.errors import UserError


class PaddedEmbedding(nn.Module):
    """nn.Embedding whose row `padding` gets no gradient: what it puts out is a constant of the graph, `row` [D]."""

    row: Tensor

    def __init__(self, embedding: nn.Embedding, padding: int) -> None:
        super().__init__()
        self.weight, self.padding = embedding.weight, padding
        self.register_buffer("row", embedding.weight[padding].detach().clone(), persistent=False)

    def forward(self, indices: Tensor) -> Tensor:
        return torch.where((indices == self.padding).unsqueeze(-1), self.row, F.embedding(indices, self.weight))


def hold_padding(network: nn.Module) -> list[str]:
    """Replaces, in place, each nn.Embedding with a padding row by one whose graph gives that row no gradient; a line on those
    whose row is not 0, which weight decay would change in torch.

    Raises `UserError` for `max_norm` and `scale_grad_by_freq`, which a graph has not.
    """
    held = []
    for path, module in list(network.named_modules()):
        if not isinstance(module, nn.Embedding | nn.EmbeddingBag):
            continue
        refuse_settings(path, module)
        module.sparse = False  # of its gradient, which is the same
        plain = isinstance(module, nn.Embedding) and type(module).forward is nn.Embedding.forward
        if not path or not plain or module.padding_idx is None:
            continue
        made = PaddedEmbedding(module, module.padding_idx)  # type: ignore[arg-type]
        if bool(made.row.any()):
            held.append(f"{path}.weight[{made.padding}]")
        replace(network, path, made.train(module.training))
    return [f"held, as a padding row gets no gradient: {', '.join(held)}"] if held else []


def refuse_settings(path: str, module: nn.Embedding | nn.EmbeddingBag) -> None:
    doing = {
        "max_norm": "changes its weights in every forward, which a graph does not: scale them once, before the checkpoint is "
        "saved, and leave max_norm out",
        "scale_grad_by_freq": "divides its gradient by counts of a batch, which the device does not: leave it out",
    }
    for setting, why in doing.items():
        if value := getattr(module, setting):
            raise UserError(f"{path or 'the network itself'}: {type(module).__name__} with {setting}={value} {why}")
