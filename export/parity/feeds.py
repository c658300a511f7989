"""Feeds of the proof, for torch and ONNX Runtime alike: real samples under every mixture of masks, with knobs that change.

Axes: N samples, B of one batch, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from export.graph.ports import GraphInputs

Feed = GraphInputs[Tensor]
MASKS = ("mixed", "labelled", "supervised", "neither")


@dataclass(frozen=True)
class Samples:
    """Real samples to compare on, in the training graph's spaces; N of each."""

    input: Tensor  # float32 [N, C, H, W], preprocessed
    mentor_logits_NK: Tensor
    mentor_activations: dict[str, Tensor]  # by probe, in the order of the graph's inputs


def draw(samples: Samples, masks: Sequence[str], batch: int, seed: int = 0, together: int = 1) -> list[Feed]:
    """A batch for each of `masks`, out of `MASKS`, and knobs of its own for each; in a mixed one at least `together` samples
    are supervised.

    The labels are random ones, and the mentor's logits are turned to other classes: a mentee that is right and agrees with its
    mentor has gradients of p − 1 ≈ 0 and p − p' ≈ 0, which float32 knows to 1e-5 at best, in torch as in any runtime, and
    that would be all the comparison saw.
    """
    random = torch.Generator().manual_seed(seed)
    classes = samples.mentor_logits_NK.shape[1]
    feeds = []
    for mask in masks:
        picked = torch.randint(len(samples.input), (batch,), generator=random)
        labelled, supervised = (torch.randint(2, (batch,), generator=random).float() for _ in range(2))
        if mask == "mixed":
            labelled[0], supervised[-together:] = 1, 1  # or a batch of one would now and then have neither
        else:
            labelled.fill_(mask == "labelled")
            supervised.fill_(mask == "supervised")
        labels = torch.randint(classes, (batch,), generator=random)
        labels = torch.where(labelled > 0, labels, -1)
        alpha, beta, gamma = (0.1 + 2 * torch.rand(1, generator=random) for _ in range(3))
        temperature = 1 + 4 * torch.rand(1, generator=random)
        turn = int(torch.randint(1, classes, (1,), generator=random))
        feeds.append(
            GraphInputs(
                input=samples.input[picked],
                labels=labels,
                labelled=labelled,
                mentor_logits=samples.mentor_logits_NK[picked].roll(turn, 1),
                mentor={name: activation[picked] for name, activation in samples.mentor_activations.items()},
                supervised=supervised,
                alpha=alpha,
                beta=beta,
                gamma=gamma,
                temperature=temperature,
            )
        )
    return feeds


def scaled(feed: Feed, factor: float) -> Feed:
    """Scales α, β and γ by `factor`, and with them the loss and every gradient: it is linear in them."""
    return feed._replace(alpha=feed.alpha * factor, beta=feed.beta * factor, gamma=feed.gamma * factor)


def as_double(value: Tensor) -> Tensor:
    return value.double() if value.is_floating_point() else value
