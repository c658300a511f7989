"""Refuses a network that takes its input for ids: what it is given are standardised numbers. Imports no Lightning."""

from typing import Any

import torch
from torch import Tensor, nn

from mentor_mentee.errors import UserError
from mentor_mentee.objective.taps import evaluating

ADVICE = (
    "inputs are standardised numbers here, and ids (tokens) are not supported: give embedded or one-hot vectors, "
    "data.layout=NCL"
)


def require_no_ids(network: nn.Module, input_BCHW: Tensor, where: str) -> None:
    """Raises `UserError` where an embedding looks up other rows for other inputs; one that counts positions does not."""
    tables: dict[str, nn.Module] = {
        path: layer for path, layer in network.named_modules() if isinstance(layer, nn.Embedding | nn.EmbeddingBag)
    }
    if not tables:
        return
    seen: list[dict[str, Tensor]] = []
    for given in (input_BCHW, *(torch.full_like(input_BCHW, number) for number in (0, 1, 2))):
        ids, failed = ids_of(network, tables, given)
        seen.append(ids)
        if failed and ids:
            break
    for path in seen[0]:
        if any(not torch.equal(seen[0][path], other[path]) for other in seen[1:] if path in other) or out_of_range(
            seen[-1].get(path), tables[path]
        ):
            raise UserError(f"{where}: layer '{path}' ({type(tables[path]).__name__}) looks up the input; {ADVICE}")


def ids_of(network: nn.Module, tables: dict[str, nn.Module], given: Tensor) -> tuple[dict[str, Tensor], bool]:
    """Ids that each embedding was asked for, by path, and whether the network failed at them."""
    ids: dict[str, Tensor] = {}

    def note(path: str) -> Any:
        return lambda _layer, args: ids.setdefault(path, args[0].detach().clone())

    hooks = [layer.register_forward_pre_hook(note(path)) for path, layer in tables.items()]
    try:
        with evaluating(network), torch.no_grad():
            network(given)
    except Exception:  # an id that is no row of the table: the caller says it better
        return ids, True
    finally:
        for hook in hooks:
            hook.remove()
    return ids, False


def out_of_range(ids: Tensor | None, table: nn.Module) -> bool:
    rows = int(table.num_embeddings)  # type: ignore[arg-type]
    return ids is not None and bool(((ids < 0) | (ids >= rows)).any())
