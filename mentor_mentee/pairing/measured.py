"""`probes=measured`: which layers to pair, by how alike both nets see the same images before the run.

Each candidate layer is asked about a few hundred images; each layer of the mentee is scored against each of the mentor by
unbiased CKA (`cka.py`) of their maps, averaged down to at most 4×4 cells. From the table of scores come the pairs: at
most one for each resolution of the mentee, none crossing another.

The mentee is untrained then. Its layers are random filters, so what the score sees is what its architecture passes on:
which places, scales and contrasts, not which classes. Early layers of the mentor, close to the image, resemble everything. So
each score is taken above what its two layers reach on average with the others: the pairs are those that are alike in particular.
Axes: N images, D features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mentor_mentee.objective.adapters import tokens_to_map
from mentor_mentee.objective.taps import Taps, evaluating
from mentor_mentee.pairing.alignment import ordered_pairs
from mentor_mentee.pairing.cka import debiased_alignment, hollow_gram
from mentor_mentee.pairing.stages import Match, Stage, both_sides, layers, steps

CELLS = 4  # on a side
FEATURES = 8192  # of one layer, beyond which its map is averaged further
MOST_LAYERS = 16  # of one net that are compared


def candidates(model: nn.Module, example: Tensor) -> list[Stage]:
    """The steps that `auto` would pair, and of the other layers as many, evenly spread, as make `MOST_LAYERS` in all.

    Not a convolution's or a norm's own output: what is behind a ReLU on one side cannot be matched before one.
    """
    named = {step.path for step in steps(model, example)}
    found = layers(model, example)
    others = [
        layer.path for layer in found if layer.path not in named and not is_linear(model.get_submodule(layer.path))
    ]
    room = min(len(others), max(0, MOST_LAYERS - len(named)))
    named |= {others[i * len(others) // room] for i in range(room)}
    return [layer for layer in found if layer.path in named]


def is_linear(module: nn.Module) -> bool:
    return not any(module.children()) and any(True for _ in module.parameters())


def measure_stages(
    mentor: nn.Module,
    mentor_batches: Sequence[Tensor],
    mentee: nn.Module,
    mentee_batches: Sequence[Tensor],
    most: int = 4,
) -> list[Match]:
    """Pairs, `stage1` the earliest; `batches` are the same images, [B, C, H, W] as either net sees them.

    `score` is the CKA itself. Raises `UserError` where either net has no layer that puts out a map.
    """
    teaching, learning = both_sides(candidates, mentor, mentor_batches[0][:2], mentee, mentee_batches[0][:2])
    teaching, mentor_grams = told_apart(teaching, grams(mentor, teaching, mentor_batches))
    learning, mentee_grams = told_apart(learning, grams(mentee, learning, mentee_batches))
    table = torch.tensor([[float(debiased_alignment(one, other)) for other in mentor_grams] for one in mentee_grams])
    above = table - table.mean(0, keepdim=True) - table.mean(1, keepdim=True) + table.mean()
    resolutions = [layer.shrunk for layer in learning]
    groups = [sum(1 for i in range(1, row + 1) if resolutions[i] != resolutions[i - 1]) for row in range(len(learning))]
    pairs = ordered_pairs(above.tolist(), groups, most)
    return [
        Match(f"stage{number}", teaching[j], learning[i], reason(table[i], j, teaching), float(table[i, j]))
        for number, (i, j) in enumerate(pairs, 1)
    ]


def reason(scores: Tensor, chosen: int, teaching: Sequence[Stage]) -> str:
    others = [
        (float(score), layer.path) for k, (score, layer) in enumerate(zip(scores, teaching, strict=True)) if k != chosen
    ]
    next_best = f"; {max(others)[1]} reaches {max(others)[0]:.2f}" if others else ""
    return f"CKA {float(scores[chosen]):.2f}{next_best}"


def grams(model: nn.Module, found: Sequence[Stage], batches: Sequence[Tensor]) -> list[Tensor]:
    """[N, N] of each layer, as CKA compares them."""
    taps = Taps(model, outputs=[layer.path for layer in found])
    features: dict[str, list[Tensor]] = {layer.path: [] for layer in found}
    with evaluating(model), torch.no_grad():
        for batch in batches:
            for path, output in taps(batch)[1].items():
                features[path].append(averaged(tokens_to_map(output)))
    return [hollow_gram(torch.cat(features[layer.path])) for layer in found]


def averaged(activation: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, D], at most `FEATURES` of them or one a channel."""
    cells = max(1, min(CELLS, int((FEATURES / activation.shape[1]) ** 0.5)))
    height, width = activation.shape[2:]
    return F.adaptive_avg_pool2d(activation, (min(cells, height), min(cells, width))).flatten(1)


def told_apart(found: Sequence[Stage], seen: Sequence[Tensor]) -> tuple[list[Stage], list[Tensor]]:
    """Drops a layer that puts out what one before it does, as a container does with its last layer's."""
    kept = [i for i in range(len(found)) if not any(torch.equal(seen[i], seen[j]) for j in range(i))]
    return [found[i] for i in kept], [seen[i] for i in kept]
