"""Pairs layers for `probes=auto`: reads the stages of both nets off one forward each.

A *stage* is a stretch of the forward in which activations keep one resolution; what its last layer puts out is the most
worked-out map of that resolution, and what follow-up work of arXiv 1604.08220 pairs (the last layer of each block). The last
stages of both nets are a pair, and each stage before has a partner of its own as long as both nets have one: where both have
shrunk their input by the same factor, else at about the same depth, the mentor's map resized. A stage of several blocks on
both sides has one more pair inside. A net of one resolution, as a transformer that keeps its grid of tokens, or of fewer
stages than its mentee, is matched block by block.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mentor_mentee.errors import UserError
from mentor_mentee.objective.adapters import as_map, channels_first_shape
from mentor_mentee.objective.taps import evaluating, unreadable
from mentor_mentee.pairing.alignment import ordered_pairs


@dataclass(frozen=True)
class Stage:
    """A layer that a probe may compare; mostly the end of a stretch of one resolution."""

    path: str  # module path
    shape: tuple[int, ...]  # of one sample: [C, H, W], also where the layer puts out [H, W, C], or tokens [L, D]
    shrunk: float  # longer side of the input over the longer side of this map
    depth: float  # position in the forward, 0 to 1
    block: bool = False  # a module with layers inside that are not looked at one by one


@dataclass(frozen=True)
class Match:
    name: str
    mentor: Stage
    mentee: Stage
    reason: str


def layers(model: nn.Module, example: Tensor) -> list[Stage]:
    """Lists what could be probed, in the order of the forward; `example` is [B, C, H, W].

    Layers that run once and put out one tensor, a map [B, C, H, W] or a square grid of tokens [B, L, D]. The inside of a
    block does not count (the first convolution of the next block still has this one's resolution): only what stands in a
    plain `nn.Sequential`, in a container that shrinks more than by two or that has a list of blocks, or in the model itself.
    """
    order: list[tuple[str, Tensor]] = []  # as modules return
    runs: dict[str, int] = {}
    image = tuple(example.shape[2:])
    blocks: set[str] = set()

    def note(path: str, open_: bool) -> Any:
        def hook(_module: nn.Module, args: tuple[object, ...], output: object) -> None:
            runs[path] = runs.get(path, 0) + 1
            if isinstance(output, Tensor) and is_map(output):
                order.append((path, output))
                given = args[0] if args else None
                if (
                    not open_
                    and isinstance(given, Tensor)
                    and is_map(given)
                    and side(given, image) <= 2 * side(output, image)
                ):
                    blocks.add(path)

        return hook

    named = [
        (path, module)
        for path, module in model.named_modules()
        if path and not isinstance(module, torch.jit.ScriptModule)
    ]
    if not named and any(True for _ in model.children()):
        raise unreadable(model)
    hooks = [module.register_forward_hook(note(path, is_open(module))) for path, module in named]
    try:
        with evaluating(model), torch.no_grad():
            model(example)
    finally:
        for hook in hooks:
            hook.remove()
    parents = {ancestor for path, _ in named for ancestor in ancestors(path)}
    once = [(path, output) for path, output in order if runs[path] == 1 and not blocks & set(ancestors(path))]
    once = [(path, output) for path, output in once if not passes_on_the_last_of_several(path, output, once)]
    return [
        Stage(
            path,
            channels_first_shape(tuple(output.shape[1:]), image),
            max(image) / side(output, image),
            (position + 1) / len(once),
            path in blocks and path in parents,
        )
        for position, (path, output) in enumerate(once)
    ]


def passes_on_the_last_of_several(path: str, output: Tensor, order: list[tuple[str, Tensor]]) -> bool:
    """A container of several resolutions puts out what its last child does: the child's name says which one that is."""
    within = [inner for name, inner in order if name.startswith(f"{path}.")]
    return any(inner is output for inner in within) and any(inner.shape[2:] != output.shape[2:] for inner in within)


def is_map(output: Tensor) -> bool:
    return output.dim() == 4 or (output.dim() == 3 and as_map(tuple(output.shape[1:])) is not None)


def side(output: Tensor, image: tuple[int, ...]) -> int:
    shape = as_map(channels_first_shape(tuple(output.shape[1:]), image))
    assert shape is not None
    return max(shape[1:])


def is_open(module: nn.Module) -> bool:
    """A plain `nn.Sequential`, or a transformer's container: one that holds a list of modules with layers of their own, all
    of one class."""
    if type(module) is nn.Sequential:
        return True
    for child in module.children():
        listed = list(child.children()) if isinstance(child, nn.Sequential | nn.ModuleList) else []
        if len({type(block) for block in listed}) == 1 and all(
            any(isinstance(part, nn.MultiheadAttention | nn.LayerNorm) for part in block.children()) for block in listed
        ):
            return True
    return False


def ancestors(path: str) -> list[str]:
    """`a.b.c` -> a, a.b."""
    parts = path.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def stages(model: nn.Module, example: Tensor) -> list[Stage]:
    """The stage ends: of `layers`, the last of each resolution. Maps that grow again and 1×1 maps are left out."""
    return [blocks_and_end(stage)[-1] for stage in by_resolution(layers(model, example))]


def by_resolution(found: Sequence[Stage]) -> list[list[Stage]]:
    """The layers of each stage, in order. Maps that grow again and 1×1 maps are left out; a map that is smaller by a border
    alone, as behind a convolution without padding, begins no stage."""
    together: list[list[Stage]] = []
    shrunk = 0.0
    for layer in found:
        space = (as_map(layer.shape) or layer.shape)[1:]
        if layer.shrunk >= shrunk and space != (1, 1):
            shrunk = layer.shrunk
            if not together or not alike(layer.shrunk, together[-1][0].shrunk):
                together.append([])
            together[-1].append(layer)
    return together


def alike(shrunk: float, other: float) -> bool:
    """Closer than a third of an octave."""
    return abs(math.log2(shrunk / other)) < 1 / 3


def blocks_and_end(stage: Sequence[Stage]) -> list[Stage]:
    """Layers that may be paired: the blocks but the last, and the end. What stands behind the last block in another container is
    not the end but on the way to the next stage, as the norm of a ConvNeXt's downsampling."""
    blocks = [layer for layer in stage if layer.block]
    if not blocks:
        return [stage[-1]]
    above = ["", *ancestors(blocks[-1].path)]
    behind = [layer for layer in stage[stage.index(blocks[-1]) + 1 :] if layer.path.rpartition(".")[0] in above]
    if not behind:
        return blocks
    end = behind[-1]
    inside = end.path in above  # the container of the last block puts out what that does
    return [*(blocks[:-1] if inside else blocks), end]


def steps(model: nn.Module, example: Tensor) -> list[Stage]:
    """The stage ends, or the blocks of a net that has several at one resolution and no other."""
    found = by_resolution(layers(model, example))
    return one_by_one(found) if len(found) == 1 else [blocks_and_end(stage)[-1] for stage in found]


def match_stages(
    mentor: nn.Module, mentor_example: Tensor, mentee: nn.Module, mentee_example: Tensor, most: int = 4
) -> list[Match]:
    """Pairs of at most `most` stages, the last ones, `stage1` the earliest; the pair inside one is `stage1_inner`.

    Raises `UserError` where either net has no stage at all.
    """

    def of(model: nn.Module, example: Tensor) -> list[list[Stage]]:
        return by_resolution(layers(model, example))

    theirs, ours = both_sides(of, mentor, mentor_example, mentee, mentee_example)
    if 1 in (len(theirs), len(ours)) or len(theirs) < len(ours):
        theirs, ours = ([[layer] for layer in one_by_one(found)] for found in (theirs, ours))
    else:
        theirs, ours = ([blocks_and_end(stage) for stage in found] for found in (theirs, ours))
    matches = []
    pairs = partners([stage[-1] for stage in theirs], [stage[-1] for stage in ours])[-most:]
    for number, (j, i) in enumerate(pairs, 1):
        one, other = theirs[j], ours[i]
        if len(one) > 1 and len(other) > 1:
            (inner,) = in_order(len(one) - 1, len(other) - 1, 1)
            blocks = f"block {inner[0] + 1} of the mentor's {len(one)}, {inner[1] + 1} of the mentee's {len(other)}"
            reason = f"within the next pair: {blocks}"
            matches.append(Match(f"stage{number}_inner", one[inner[0]], other[inner[1]], reason))
        matches.append(
            Match(f"stage{number}", one[-1], other[-1], why(one[-1], other[-1], (j, len(theirs)), (i, len(ours))))
        )
    return matches


def one_by_one(found: Sequence[Sequence[Stage]]) -> list[Stage]:
    """All blocks, and of a stage without any its end."""
    return [layer for stage in found for layer in [block for block in stage if block.block] or stage[-1:]]


def partners(mentor: Sequence[Stage], mentee: Sequence[Stage]) -> list[tuple[int, int]]:
    """(mentor's, mentee's) of as many pairs as the shorter list has, in order, the last with the last: those before it as near as
    can be in how far the input has shrunk, in octaves, and then in depth."""
    depth = [
        [abs((i + 1) / len(mentee) - (j + 1) / len(mentor)) for j in range(len(mentor))] for i in range(len(mentee))
    ]
    closeness = [
        [-abs(math.log2(mentor[j].shrunk / mentee[i].shrunk)) - depth[i][j] for j in range(len(mentor) - 1)]
        for i in range(len(mentee) - 1)
    ]
    count = min(len(mentor), len(mentee)) - 1
    found = ordered_pairs(closeness, list(range(len(closeness))), count) if count else []
    return [*((j, i) for i, j in found), (len(mentor) - 1, len(mentee) - 1)]


def in_order(mentor: int, mentee: int, count: int) -> list[tuple[int, int]]:
    """`count` pairs (mentor's, mentee's) of so many blocks before a stage's end, as near as can be in fractions of the stage."""
    closeness = [[-abs((i + 1) / (mentee + 1) - (j + 1) / (mentor + 1)) for j in range(mentor)] for i in range(mentee)]
    return [(j, i) for i, j in ordered_pairs(closeness, list(range(mentee)), count)]


def why(one: Stage, other: Stage, theirs: tuple[int, int], ours: tuple[int, int]) -> str:
    same = one.shrunk == other.shrunk
    resolution = (
        f"resolution 1/{one.shrunk:g} in both" if same else f"resolution 1/{one.shrunk:g} and 1/{other.shrunk:g}"
    )
    if alike(one.shrunk, other.shrunk):
        return resolution
    last = theirs[0] + 1 == theirs[1] and ours[0] + 1 == ours[1]
    why = (
        "last stage of both"
        if last
        else f"nearest in depth: stage {theirs[0] + 1} of {theirs[1]} and {ours[0] + 1} of {ours[1]}"
    )
    return f"{why}, {resolution}"


def both_sides(
    of: Any, mentor: nn.Module, mentor_example: Tensor, mentee: nn.Module, mentee_example: Tensor
) -> tuple[Any, Any]:
    sides = {"mentor": of(mentor, mentor_example), "mentee": of(mentee, mentee_example)}
    for which, found in sides.items():
        if not found:
            raise UserError(
                f"probes=auto found no layer of the {which} that puts out a map [channels, height, width]; pair layers by hand, "
                "probes.<name>=[mentor layer, mentee layer], or take probes=none"
            )
    return sides["mentor"], sides["mentee"]
