"""Which layers to pair: `probes=auto` reads the stages of both nets off one forward each.

A *stage* is a stretch of the forward in which activations keep one resolution; what its last layer puts out is the most
worked-out map of that resolution, and what follow-up work of arXiv 1604.08220 pairs (the last layer of each block). Stages
are matched where both nets have shrunk their input by the same factor, so nets that see other input sizes still pair.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from data.errors import UserError
from objective.probes import Adapter
from objective.taps import evaluating


@dataclass(frozen=True)
class Stage:
    """The end of a stretch of one resolution."""

    path: str  # module path
    shape: tuple[int, ...]  # [C, H, W] of one sample
    shrunk: float  # input height over this height
    depth: float  # position in the forward, 0 to 1


@dataclass(frozen=True)
class Match:
    name: str
    mentor: Stage
    mentee: Stage


def stages(model: nn.Module, example: Tensor) -> list[Stage]:
    """The stage ends of a network, in the order of its forward; `example` is [B, C, H, W].

    Of the layers that run once and put out one [B, C, H, W] tensor, the last of each resolution. The inside of a block does
    not count (the first convolution of the next block still has this one's resolution): only what stands in a
    plain `nn.Sequential`, in a container that shrinks more than by two, or in the model itself. Maps that grow again
    and 1x1 maps are left out.
    """
    order: list[tuple[str, tuple[int, ...]]] = []  # (path, shape), as modules return
    runs: dict[str, int] = {}
    blocks: set[str] = set()

    def note(path: str, sequential: bool) -> Any:
        def hook(_module: nn.Module, args: tuple[object, ...], output: object) -> None:
            runs[path] = runs.get(path, 0) + 1
            if isinstance(output, Tensor) and output.dim() == 4:
                order.append((path, tuple(output.shape[1:])))
                given = args[0] if args else None
                if (
                    not sequential
                    and isinstance(given, Tensor)
                    and given.dim() == 4
                    and given.shape[2] <= 2 * output.shape[2]
                ):
                    blocks.add(path)

        return hook

    named = [(path, module) for path, module in model.named_modules() if path]
    hooks = [module.register_forward_hook(note(path, type(module) is nn.Sequential)) for path, module in named]
    try:
        with evaluating(model), torch.no_grad():
            model(example)
    finally:
        for hook in hooks:
            hook.remove()
    once = [(path, shape) for path, shape in order if runs[path] == 1 and not blocks & set(ancestors(path))]
    found: dict[tuple[int, ...], Stage] = {}
    smallest = example.shape[2]
    for position, (path, shape) in enumerate(once):
        if shape[1] <= smallest and shape[1:] != (1, 1):
            smallest = shape[1]
            found[shape[1:]] = Stage(path, shape, example.shape[2] / shape[1], (position + 1) / len(once))
    return list(found.values())


def ancestors(path: str) -> list[str]:
    """`a.b.c` -> a, a.b."""
    parts = path.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def match_stages(
    mentor: nn.Module, mentor_example: Tensor, mentee: nn.Module, mentee_example: Tensor, most: int = 4
) -> list[Match]:
    """Pairs of stage ends, `stage1` the earliest; at most `most`, the last ones.

    Where no factor agrees, the last stages are paired. Raises `UserError` where either net has no stage at all.
    """
    sides = {"mentor": stages(mentor, mentor_example), "mentee": stages(mentee, mentee_example)}
    for side, found in sides.items():
        if not found:
            raise UserError(
                f"probes=auto found no layer of the {side} that puts out a map [channels, height, width]; pair layers by hand, "
                "probes.<name>=[mentor layer, mentee layer], or take probes=none"
            )
    pairs = []
    for stage in sides["mentee"]:
        close = [
            other for other in sides["mentor"] if abs(other.shrunk / stage.shrunk - 1) < 0.26 and fits(stage, other)
        ]
        if close:
            pairs.append((min(close, key=lambda other: abs(other.depth - stage.depth)), stage))
    if not pairs and fits(sides["mentee"][-1], sides["mentor"][-1]):
        pairs = [(sides["mentor"][-1], sides["mentee"][-1])]
    if not pairs:
        raise UserError(
            f"probes=auto found stages in both nets ({', '.join(s.path for s in sides['mentor'])} and "
            f"{', '.join(s.path for s in sides['mentee'])}) but none that fit; pair layers by hand or take probes=none"
        )
    return [Match(f"stage{i}", mentor_stage, stage) for i, (mentor_stage, stage) in enumerate(pairs[-most:], 1)]


def fits(mentee: Stage, mentor: Stage) -> bool:
    try:
        Adapter.between("auto", mentee.shape, mentor.shape)
    except UserError:
        return False
    return True
