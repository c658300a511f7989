"""The mentees that the TypeScript client is tested with: six networks, each with an optimizer of its own, and one head alone."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from export.bundle.write import export_bundle
from export.graph.optimizer_spec import Group, Optimizer, Schedule
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.data.load import load_data
from mentor_mentee.objective.probes import find_probes
from mentor_mentee.objective.taps import find_head
from mentor_mentee.recipe import build
from tests.conftest import MENTEE, PROBES, SETTINGS, seeded, with_statistics

ADAMW = Optimizer(
    learning_rate=0.003, epsilon=1e-3
)  # at 1e-8 a gradient that is rounding moves a parameter by the whole rate
EVERYTHING = replace(
    ADAMW,
    learning_rate=0.02,
    groups=[Group("*.bias", 0.5, 0.0), Group("head.*", 2.0)],
    clip_norm=0.5,
    accumulate=2,
    schedule=Schedule("cosine", warm_up=2, steps=8, final=0.1),
)
CNN = {"in_channels": 1, "num_classes": 10, "widths": [6, 10]}
NETWORKS = "tests.device.js.networks"
PLAIN = {**MENTEE, "_target_": f"{NETWORKS}.plain"}
RESIDUAL = {"_target_": f"{NETWORKS}.residual", **CNN}
DEPTHWISE = {"_target_": f"{NETWORKS}.depthwise", **CNN, "blocks": 1, "expansion": 2}
STAGES = {"early": ("stages.0", "stages.0"), "late": ("stages.1", "stages.1")}


@dataclass(frozen=True)
class Case:
    """How a mentee learns; `recipe` and `probes` (mentor layer, mentee layer) where it is not the checkpoint's own."""

    optimizer: Optimizer
    recipe: dict[str, Any] | None = None
    probes: dict[str, tuple[str, str]] | None = None
    batch_norm: str = "frozen"
    trainable: str = "all"
    backend: str = "stock"
    golden_per_class: int = 3


WHOLE: dict[str, Any] = {"backend": "both", "golden_per_class": SETTINGS.golden_per_class}
CASES: dict[str, Case] = {
    "adamw": Case(ADAMW, PLAIN, PROBES, **WHOLE),
    "everything": Case(EVERYTHING, RESIDUAL, STAGES, **WHOLE),
    "nesterov": Case(
        Optimizer("sgd", 0.03, weight_decay=0.001, momentum=0.9, nesterov=True),
        RESIDUAL,
        STAGES,
        "batch",
        **WHOLE,
    ),
    "head": Case(ADAMW, trainable="head", **WHOLE),  # most weights are constants, which graphs point to
    "depthwise": Case(Optimizer("sgd", 0.03), DEPTHWISE, STAGES),
    "transformer": Case(
        replace(ADAMW, clip_norm=1.0, schedule=Schedule("step", every=10, factor=0.7)),
        {"_target_": f"{NETWORKS}.SmallTransformer"},
        {},
    ),
    "gru": Case(Optimizer("sgd", 0.05, momentum=0.8), {"_target_": f"{NETWORKS}.SmallGRU"}, {}),
}


def write_bundles(folder: Path, checkpoint: MenteeCheckpoint) -> None:
    """`folder`/NAME, a bundle of each case, untrained."""
    for name, case in CASES.items():
        settings = replace(
            SETTINGS,
            optimizer=case.optimizer,
            batch_norm=case.batch_norm,
            trainable=case.trainable,
            backend=case.backend,
            golden_per_class=case.golden_per_class,
        )
        with seeded(0):
            export_bundle(of(checkpoint, case), folder / name, settings)


def of(checkpoint: MenteeCheckpoint, case: Case) -> MenteeCheckpoint:
    """`checkpoint` with the case's network, untrained, in place of its own."""
    if case.recipe is None:
        return checkpoint
    assert checkpoint.mentor is not None
    splits = load_data(checkpoint.data, whole=True)
    ready = checkpoint.view(splits.train.images[:256])
    with seeded(0):
        mentee = with_statistics(build(case.recipe, "a test"), ready)
        mentor = build(checkpoint.mentor["network"], "a test").eval()
    probes = tuple(find_probes(case.probes, mentor, ready[:2], mentee, ready[:2])) if case.probes else ()
    head = find_head(mentee, ready[:2])
    return replace(checkpoint, recipe=case.recipe, state=mentee.state_dict(), head=head, probes=probes)
