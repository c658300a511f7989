"""The mentee as it will be on the device: its BatchNorm, its Dropout, its head, and what of it trains."""

from collections.abc import Sequence

import torch
from torch import nn

from export.network.batch_norm import with_batch_norm
from export.network.checks import require_exportable
from export.network.classes import ClassPlan
from export.network.dropout import keep_dropout
from export.network.fold import largest_difference
from export.network.trainable import choose_trainable
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.errors import UserError
from mentor_mentee.objective.probes import ProbedMentee

FOLD_BOUND = 1e-4  # relative difference of the logits that holding BatchNorm may make in float32


def device_network(
    checkpoint: MenteeCheckpoint,
    batch_norm: str,
    dropout: str,
    trainable: str | Sequence[str],
    plan: ClassPlan | None = None,
) -> nn.Module:
    """The mentee as it will be on the device: its BatchNorm, its Dropout, its head, and what of it trains.

    Raises `UserError` where holding BatchNorm changed what it computes, and for a choice that does not fit the network.
    """
    made = frozen_network(checkpoint, batch_norm)
    if plan is not None:
        plan.head(made, checkpoint.head)
    if dropout == "on":
        keep_dropout(made)
    example = torch.zeros(2, *checkpoint.view.shape)
    choose_trainable(made, trainable, checkpoint.head, example)
    return made


def frozen_network(checkpoint: MenteeCheckpoint, batch_norm: str = "frozen") -> nn.Module:
    """The mentee with BatchNorm in one of its ways. Raises `UserError` where holding it changed what the mentee computes."""
    network = checkpoint.network()
    example = torch.randn(8, *checkpoint.view.shape, generator=torch.Generator().manual_seed(0))
    require_exportable(network, example)
    frozen = with_batch_norm(network, batch_norm, {probe.mentee for probe in checkpoint.probes})
    difference = largest_difference(network, frozen, example)
    if not difference <= FOLD_BOUND:
        raise UserError(
            f"folding BatchNorm changes the mentee's logits by {difference:.1e} (at most {FOLD_BOUND:.0e}); has a running "
            "variance collapsed to 0? Distill with batch_norm=false, or for longer"
        )
    require_same_probes(checkpoint, network, frozen, example)
    return frozen


def require_same_probes(
    checkpoint: MenteeCheckpoint, before: nn.Module, after: nn.Module, example: torch.Tensor
) -> None:
    """Raises `UserError` where a probe or the embedding would read something else on the device than in the run."""
    with torch.no_grad():
        was, is_now = (ProbedMentee(net, checkpoint.probes, checkpoint.head).eval()(example) for net in (before, after))
    pairs = {name: (was.activations[name], is_now.activations[name]) for name in was.activations}
    for name, (expected, seen) in {**pairs, "the embedding": (was.embedding, is_now.embedding)}.items():
        difference = float((expected - seen).abs().max() / expected.abs().max().clamp(min=1e-6))
        if not difference <= FOLD_BOUND:
            raise UserError(
                f"folding BatchNorm changes what '{name}' reads by {difference:.1e}; probe a layer after the BatchNorm"
            )
