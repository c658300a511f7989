"""Pairs layers for `probes=auto`: reads the stages of both nets off one forward each.

A *stage* is a stretch of the forward in which activations keep one resolution; what its last layer puts out is the most
worked-out map of that resolution, and what follow-up work of arXiv 1604.08220 pairs (the last layer of each block). Stages
are matched where both nets have shrunk their input by the same factor, so nets that see other input sizes still pair.
Nets that never meet in resolution, as a transformer that keeps its grid of tokens, are matched by depth.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mentor_mentee.errors import UserError
from mentor_mentee.objective.adapters import as_map
from mentor_mentee.objective.taps import evaluating, unreadable
from mentor_mentee.pairing.alignment import ordered_pairs


@dataclass(frozen=True)
class Stage:
    """A layer that a probe may compare; mostly the end of a stretch of one resolution."""

    path: str  # module path
    shape: tuple[int, ...]  # of one sample: [C, H, W], or tokens [L, D]
    shrunk: float  # longer side of the input over the longer side of this map
    depth: float  # position in the forward, 0 to 1
    block: bool = False  # a module with layers inside that are not looked at one by one


@dataclass(frozen=True)
class Match:
    name: str
    mentor: Stage
    mentee: Stage
    reason: str
    score: float | None = None


def layers(model: nn.Module, example: Tensor) -> list[Stage]:
    """Lists what could be probed, in the order of the forward; `example` is [B, C, H, W].

    Layers that run once and put out one tensor, a map [B, C, H, W] or a square grid of tokens [B, L, D]. The inside of a
    block does not count (the first convolution of the next block still has this one's resolution): only what stands in a
    plain `nn.Sequential`, in a container that shrinks more than by two or that has a list of blocks, or in the model itself.
    """
    order: list[tuple[str, Tensor]] = []  # as modules return
    runs: dict[str, int] = {}
    blocks: set[str] = set()

    def note(path: str, open_: bool) -> Any:
        def hook(_module: nn.Module, args: tuple[object, ...], output: object) -> None:
            runs[path] = runs.get(path, 0) + 1
            if isinstance(output, Tensor) and is_map(output):
                order.append((path, output))
                given = args[0] if args else None
                if not open_ and isinstance(given, Tensor) and is_map(given) and side(given) <= 2 * side(output):
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
            tuple(output.shape[1:]),
            max(example.shape[2:]) / side(output),
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


def side(output: Tensor) -> int:
    shape = as_map(tuple(output.shape[1:]))
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
    return stage_ends(layers(model, example))


def stage_ends(found: list[Stage]) -> list[Stage]:
    ends: dict[tuple[int, ...], Stage] = {}
    shrunk = 0.0
    for layer in found:
        space = (as_map(layer.shape) or layer.shape)[1:]
        if layer.shrunk >= shrunk and space != (1, 1):
            shrunk = layer.shrunk
            ends[space] = layer
    return list(ends.values())


def steps(model: nn.Module, example: Tensor) -> list[Stage]:
    """The stage ends, or the blocks of a net that has several at one resolution and no other."""
    found = layers(model, example)
    ends = stage_ends(found)
    blocks = [layer for layer in found if layer.block]
    return blocks if len(ends) == 1 and len(blocks) > 1 else ends


def match_stages(
    mentor: nn.Module, mentor_example: Tensor, mentee: nn.Module, mentee_example: Tensor, most: int = 4
) -> list[Match]:
    """Pairs of stage ends, `stage1` the earliest; at most `most`, the last ones.

    Raises `UserError` where either net has no stage at all.
    """
    mentor_steps, mentee_steps = both_sides(steps, mentor, mentor_example, mentee, mentee_example)
    pairs = []
    for stage in mentee_steps:
        close = [other for other in mentor_steps if abs(other.shrunk / stage.shrunk - 1) < 0.26]
        if close:
            pairs.append((min(close, key=lambda other: abs(other.depth - stage.depth)), stage))
    columnar = any(len({step.shrunk for step in side}) == 1 < len(side) for side in (mentor_steps, mentee_steps))
    if pairs and not columnar:
        reasons = [f"input shrunk by {one.shrunk:g} and {other.shrunk:g}" for one, other in pairs]
    else:
        pairs, reasons = by_depth(mentor_steps, mentee_steps)
    matches = zip(pairs[-most:], reasons[-most:], strict=True)
    return [Match(f"stage{i}", one, other, reason) for i, ((one, other), reason) in enumerate(matches, 1)]


def by_depth(mentor: list[Stage], mentee: list[Stage]) -> tuple[list[tuple[Stage, Stage]], list[str]]:
    """Each step of the shorter list with one of the longer in order, as near as can be in fractions of either list: the
    last with the last."""
    closeness = [
        [-abs((i + 1) / len(mentee) - (j + 1) / len(mentor)) for j in range(len(mentor))] for i in range(len(mentee))
    ]
    found = ordered_pairs(closeness, list(range(len(mentee))), min(len(mentor), len(mentee)))
    return (
        [(mentor[j], mentee[i]) for i, j in found],
        [
            f"by depth: step {j + 1} of {len(mentor)} and {i + 1} of {len(mentee)}; the resolutions do not say"
            for i, j in found
        ],
    )


def both_sides(
    of: Any, mentor: nn.Module, mentor_example: Tensor, mentee: nn.Module, mentee_example: Tensor
) -> tuple[list[Stage], list[Stage]]:
    sides = {"mentor": of(mentor, mentor_example), "mentee": of(mentee, mentee_example)}
    for which, found in sides.items():
        if not found:
            raise UserError(
                f"probes=auto found no layer of the {which} that puts out a map [channels, height, width]; pair layers by hand, "
                "probes.<name>=[mentor layer, mentee layer], or take probes=none"
            )
    return sides["mentor"], sides["mentee"]
