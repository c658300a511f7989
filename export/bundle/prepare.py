"""All that a bundle is made of, as tensors and modules, before anything is written."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from export.bundle.knobs import device_knobs
from export.bundle.packs import SupervisionPack, class_balanced, supervision_pack
from export.bundle.replay_choice import Embed, fitting, sample_bytes
from export.graph.ports import Port, input_ports, output_ports
from export.graph.training_graph import TrainingGraph
from export.network.classes import ClassPlan
from export.network.for_device import device_network, embedding_size
from export.network.learnt import set_learnt
from export.schema import ExportSettings
from mentee.checkpoint import MenteeCheckpoint
from mentor.mentor import Mentor
from mentor.restore import restore_mentor
from mentor_mentee.data.load import load_data, under_budget
from mentor_mentee.data.splits import Photo, Split, Splits
from mentor_mentee.data.store.images import Images, in_parts, joined
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError
from mentor_mentee.objective.probes import ProbedMentee


@dataclass(frozen=True)
class Prepared:
    checkpoint: MenteeCheckpoint
    classes: tuple[str, ...]  # of the bundle, in its order
    plan: ClassPlan | None  # where they are not the checkpoint's
    network: nn.Module  # the mentee as it will be on the device
    graph: TrainingGraph
    inputs: list[Port]
    outputs: list[Port]
    trainable: list[str]
    notes: list[str]
    pack: SupervisionPack
    mentor: str  # fingerprint of the one whose answers the pack has
    golden: Split
    test: Split
    photo: Photo | None  # how the data's images were made, where the mentee takes them at their size


@dataclass(frozen=True)
class OnDevice:
    """Parts of a bundle that the checkpoint alone decides: they are tried before any data is read."""

    classes: tuple[str, ...]
    plan: ClassPlan | None
    network: nn.Module
    graph: TrainingGraph
    inputs: list[Port]
    outputs: list[Port]
    trainable: list[str]
    notes: list[str]  # on what the bundle has otherwise than the run

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of one sample."""
        return tuple(int(size) for size in self.inputs[0].shape[1:])


def on_device(
    checkpoint: MenteeCheckpoint, settings: ExportSettings, parameters: Mapping[str, NDArray[np.float32]] | None = None
) -> OnDevice:
    """`parameters`: see `export_bundle`. Raises `UserError` for a mentee that no bundle can be made of."""
    plan = ClassPlan.asked(checkpoint.classes, settings.classes, settings.spare_classes)
    network, notes = device_network(checkpoint, settings.batch_norm, settings.dropout, settings.trainable, plan)
    if parameters:
        notes = [*notes, set_learnt(network, parameters)]
    classes = checkpoint.classes if plan is None else plan.after
    probed = ProbedMentee(network, checkpoint.probes, checkpoint.head).eval()
    with torch.no_grad():
        embedding = embedding_size(probed(torch.zeros(2, *checkpoint.view.shape)).embedding, checkpoint.head)
    return OnDevice(
        classes=classes,
        plan=plan,
        network=network,
        graph=TrainingGraph(probed, checkpoint.loss),
        inputs=input_ports(checkpoint.view.shape, len(classes), checkpoint.probes),
        outputs=output_ports(len(classes), embedding, checkpoint.probes, checkpoint.loss),
        trainable=[name for name, parameter in network.named_parameters() if parameter.requires_grad],
        notes=notes,
    )


def prepare(
    checkpoint: MenteeCheckpoint,
    settings: ExportSettings,
    mentee: OnDevice | None = None,
    data: Splits | None = None,
    mentor: Mentor | None = None,
) -> Prepared:
    """Raises `UserError` for data, a mentor or a mentee that no bundle can be made of. `mentee` saves making it again; `data` and
    `mentor` are the run's, where the checkpoint does not name them."""
    require_named(checkpoint, data is not None, mentor is not None)
    mentee = mentee or on_device(checkpoint, settings)
    splits = data if data is not None else load_data(checkpoint.data, whole=True)
    if splits.classes != checkpoint.classes:
        raise UserError(
            f"the data's classes are {splits.classes}, the checkpoint's {checkpoint.classes}; use the run's data"
        )
    mentor = mentor if mentor is not None else named_mentor(checkpoint)
    budget = under_budget(
        {} if data is not None else checkpoint.data, splits
    ).train  # with the run's label budget: what had no label there has none here
    whole, val, test = splits.train, splits.val, splits.test
    plan, classes, untaught = mentee.plan, len(mentee.classes), list[int]()
    if plan is not None:
        untaught = plan.untaught
        budget, whole, val, test = plan.split(budget), plan.unheld(whole, budget), plan.split(val), plan.split(test)
    embed = partial(embeddings, mentee.graph.student, checkpoint.view)
    per_class = replayed_per_class(checkpoint, settings, classes, len(untaught))
    replayed = replay_samples(budget, whole, per_class, classes, untaught, settings.replay_rule, embed)
    pack = supervision_pack(replayed, mentor, checkpoint.view)
    if plan is not None:
        pack = pack.for_classes(plan)
        if plan.spare:
            own = base_logits(mentee.graph.student, checkpoint.view, pack.pixels)
            pack = pack.with_spare(own, plan.spare, device_knobs(settings.loss, checkpoint).temperature)
    return Prepared(
        checkpoint=checkpoint,
        **vars(mentee),
        pack=pack,
        mentor=mentor.fingerprint(),
        golden=class_balanced(val, settings.golden_per_class, classes, "validation split", untaught=untaught),
        test=test,
        photo=splits.photo if splits.shape[1:] == checkpoint.view.shape[1:] else None,
    )


def require_named(checkpoint: MenteeCheckpoint, data: bool = False, mentor: bool = False) -> None:
    """Raises `UserError` where the checkpoint names no data or no mentor, and none is given."""
    if not checkpoint.data and not data:
        raise UserError(
            "the checkpoint names no data, for it was trained on a DataLoader of a script: give its data sets, export_bundle(…, "
            "data={'train': …, 'val': …, 'test': …}), or name them before the training: distillation(…, data=distill.recipe(…))"
        )
    if checkpoint.mentor is None and not mentor:
        raise UserError(
            "the checkpoint names no mentor, so there is nobody to supervise learning on the device: a run with β = γ = 0 has "
            "none; export the mentee of a run under a mentor, or of a script give export_bundle(…, mentor=student.mentor)"
        )


def named_mentor(checkpoint: MenteeCheckpoint) -> Mentor:
    assert checkpoint.mentor is not None
    return restore_mentor(checkpoint.mentor, checkpoint.probes)


def embeddings(probed: ProbedMentee, view: View, images: Images) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([probed(view(part)).embedding for part in in_parts(images, 256)])


def base_logits(probed: ProbedMentee, view: View, images: Images) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([probed(view(part)).logits for part in in_parts(images, 256)])


def replayed_per_class(checkpoint: MenteeCheckpoint, settings: ExportSettings, classes: int, untaught: int) -> int:
    """Raises `UserError` for a budget in MB that is too small."""
    if settings.supervision_mb is None:
        return settings.supervision_per_class
    view, shapes = checkpoint.view, [probe.adapter.shape for probe in checkpoint.probes]
    sample = sample_bytes(view.shape, view.dtype, classes, shapes)
    return fitting(settings.supervision_mb, sample, classes - untaught, 3 + len(shapes))


def replay_samples(
    budget: Split,
    whole: Split,
    per_class: int,
    classes: int,
    untaught: Collection[int] = (),
    rule: str = "random",
    embed: Embed | None = None,
) -> Split:
    """`per_class` labelled samples of every class out of the run's label budget, by `rule`; where it has fewer, random others
    from the whole training split stand in, without their label, for the mentor to answer."""
    pack = class_balanced(budget, per_class, classes, "training split", untaught=untaught, rule=rule, embed=embed)
    lacking = per_class * (classes - len(untaught)) - len(pack)
    if lacking <= 0:
        return pack
    labelled = set(budget.positions[budget.labels >= 0].tolist())
    spare = torch.tensor([i for i, position in enumerate(whole.positions.tolist()) if position not in labelled]).long()
    spare = spare[torch.randperm(len(spare), generator=torch.Generator().manual_seed(0))[:lacking]]
    return Split(
        joined(pack.images, whole.subset(spare).images),
        torch.cat([pack.labels, torch.full((len(spare),), -1)]),
        torch.cat([pack.positions, whole.positions[spare]]),
    )
