"""The mentee as it will be on the device: its BatchNorm, its Dropout, its head, and what of it trains."""

from collections.abc import Sequence

import torch
from torch import nn

from export.network.batch_norm import hold_instance_norms, with_batch_norm
from export.network.checks import require_exportable, require_repeatable
from export.network.classes import ClassPlan
from export.network.dropout import keep_dropout
from export.network.layers.auxiliary import drop_auxiliary
from export.network.layers.embeddings import hold_padding
from export.network.layers.plain import bake_in
from export.network.modes import in_eval_mode
from export.network.trainable import choose_trainable
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.errors import UserError
from mentor_mentee.objective.probes import Probe, ProbedMentee

FOLD_BOUND = 1e-4  # relative difference of the logits that holding BatchNorm may make in float32


def device_network(
    checkpoint: MenteeCheckpoint,
    batch_norm: str,
    dropout: str,
    trainable: str | Sequence[str],
    plan: ClassPlan | None = None,
) -> tuple[nn.Module, list[str]]:
    """The mentee as it will be on the device: its BatchNorm, its Dropout, its head, and what of it trains; and lines that say
    what else was changed.

    Raises `UserError` where holding BatchNorm changed what it computes, and for a choice that does not fit the network.
    """
    made, notes = held(checkpoint.network(), checkpoint.view.shape, batch_norm, checkpoint.probes, checkpoint.head)
    if plan is not None:
        plan.head(made, checkpoint.head)
    if dropout == "on":
        keep_dropout(made)
    example = torch.zeros(2, *checkpoint.view.shape)
    choose_trainable(made, trainable, checkpoint.head, example)
    return made, notes


def frozen_network(checkpoint: MenteeCheckpoint, batch_norm: str = "frozen") -> nn.Module:
    """The mentee with BatchNorm in one of its ways, and plain weights."""
    return held(checkpoint.network(), checkpoint.view.shape, batch_norm, checkpoint.probes, checkpoint.head)[0]


def held(
    network: nn.Module,
    shape: Sequence[int],
    batch_norm: str = "frozen",
    probes: Sequence[Probe] = (),
    head: str | None = None,
) -> tuple[nn.Module, list[str]]:
    """A copy of `network`, which gets plain weights in place, with BatchNorm in one of its ways; and lines on those weights.

    Raises `UserError` for a network that no graph can be made of, and where this changed what it computes.
    """
    example = torch.randn(8, *shape, generator=torch.Generator().manual_seed(0))
    logits = require_exportable(in_eval_mode(network), example)
    require_repeatable(network, example)  # before anything is compared with these logits
    notes = bake_in(network)
    if notes:
        require_near(logits, network, example, f"baking in its parametrisation ({notes[0]})", "remove it by hand first")
    notes += [*hold_instance_norms(network), *hold_padding(network)]
    notes += drop_auxiliary(network, example)
    frozen = with_batch_norm(network, batch_norm, {probe.mentee for probe in probes})
    advice = "has a running variance collapsed to 0? Distill with batch_norm=false, or for longer"
    require_near(logits, frozen, example, "folding BatchNorm", advice)
    if head is not None:
        require_same_probes(probes, head, network, frozen, example)
    return frozen, notes


def require_near(logits: torch.Tensor, after: nn.Module, example: torch.Tensor, doing: str, advice: str) -> None:
    with torch.no_grad():
        difference = float((after(example) - logits).abs().max() / logits.abs().max().clamp(min=1e-6))
    if not difference <= FOLD_BOUND:
        raise UserError(f"{doing} changes the mentee's logits by {difference:.1e} (at most {FOLD_BOUND:.0e}); {advice}")


def require_same_probes(
    probes: Sequence[Probe], head: str, before: nn.Module, after: nn.Module, example: torch.Tensor
) -> None:
    """Raises `UserError` where a probe or the embedding would read something else on the device than in the run."""
    with torch.no_grad():
        was, is_now = (ProbedMentee(net, probes, head).eval()(example) for net in (before, after))
    pairs = {name: (was.activations[name], is_now.activations[name]) for name in was.activations}
    for name, (expected, seen) in {**pairs, "the embedding": (was.embedding, is_now.embedding)}.items():
        difference = float((expected - seen).abs().max() / expected.abs().max().clamp(min=1e-6))
        if not difference <= FOLD_BOUND:
            raise UserError(
                f"folding BatchNorm changes what '{name}' reads by {difference:.1e}; probe a layer after the BatchNorm"
            )


def embedding_size(embedding: torch.Tensor, head: str, setting: str = "mentee.head") -> int:
    """D. Raises `UserError` where what the head is given is no vector a sample; `setting` is what names another head."""
    if embedding.dim() != 2:
        raise UserError(
            f"the head '{head}' is given {list(embedding.shape[1:])} a sample; an embedding is a vector: name the layer that is "
            f"given one, {setting}=<module path>"
        )
    return embedding.shape[1]
