"""The samples that travel with a mentee: those it is supervised on, and those that guard it.

Axes: N samples, K classes.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from export.bundle.replay_choice import Embed, choose
from export.network.classes import LARGEST_HALF, ClassPlan
from mentor.mentor import Mentor
from mentor_mentee.data.splits import Split
from mentor_mentee.data.store.images import in_parts
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError


@dataclass(frozen=True)
class SupervisionPack:
    """Replay samples with the mentor's answers in half precision, as they are stored."""

    pixels: Tensor  # uint8 or float32 [N, C, H, W], as the mentee sees them before normalisation
    labels_N: Tensor  # int64, −1 where unknown
    mentor_logits_NK: Tensor  # float16
    mentor_activations: dict[str, Tensor]  # probe name -> float16 [N, *probe shape]

    def tensors(self) -> dict[str, Tensor]:
        activations = {f"mentor_{name}": value for name, value in self.mentor_activations.items()}
        return {"input": self.pixels, "labels": self.labels_N, "mentor_logits": self.mentor_logits_NK, **activations}

    @property
    def bytes_per_sample(self) -> int:
        return sum(tensor[0].numel() * tensor.element_size() for tensor in self.tensors().values())

    def for_classes(self, plan: ClassPlan) -> "SupervisionPack":
        """The pack over `plan`'s new list; its samples were answered over the old one, and `plan.split` let them through.

        A sample without a label leaves it where the mentor takes it for a dropped class: nobody else knows whose it is.
        """
        guessed_N = self.mentor_logits_NK.float().argmax(1)
        dropped = torch.tensor([plan.before.index(name) for name in plan.dropped], dtype=torch.int64)
        stays_N = (self.labels_N >= 0) | ~torch.isin(guessed_N, dropped)
        return replace(
            self,
            pixels=self.pixels[stays_N],
            labels_N=self.labels_N[stays_N],
            mentor_logits_NK=plan.logits(self.mentor_logits_NK[stays_N]),
            mentor_activations={name: value[stays_N] for name, value in self.mentor_activations.items()},
        )

    def with_spare(self, base_NK: Tensor, spare: int, temperature: float) -> "SupervisionPack":
        """The pack with a mentor that has no opinion on the last `spare` classes: at `temperature` its softmax gives them the
        share that the base's, of logits `base_NK`, does. A mentor that excludes them would be learnt from: the owner's samples
        of a new class are few, the replayed ones many (docs/experiments/strokes.md)."""
        base, mentor = base_NK.double() / temperature, self.mentor_logits_NK.double() / temperature
        known = base[:, :-spare].logsumexp(1, keepdim=True), mentor[:, :-spare].logsumexp(1, keepdim=True)
        answers = torch.cat([mentor[:, :-spare], base[:, -spare:] - known[0] + known[1]], 1) * temperature
        logits = answers.clamp(-LARGEST_HALF, LARGEST_HALF).to(self.mentor_logits_NK.dtype)
        return replace(self, mentor_logits_NK=logits)


def class_balanced(
    split: Split,
    per_class: int,
    classes: int,
    where: str,
    *,
    seed: int = 0,
    untaught: Collection[int] = (),
    rule: str = "random",
    embed: Embed | None = None,
) -> Split:
    """`per_class` samples of every class, in the order of the split; fewer where a class has fewer. `rule` chooses them, on
    what `embed` makes of a class's images where it is not random.

    Raises `UserError` where a class has none and is not among the `untaught`, which are new to the mentee: a pack without
    it would teach or guard the mentee to forget that class.
    """
    random = torch.Generator().manual_seed(seed)
    picked = []
    for label in (label for label in range(classes) if label not in untaught):
        members = torch.nonzero(split.labels == label).flatten()
        if not len(members):
            raise UserError(
                f"the {where} has no sample of class {label}; expected at least one of every class: use more data"
            )
        if rule == "random" or embed is None:
            picked.append(members[torch.randperm(len(members), generator=random)[:per_class]])
        else:
            picked.append(members[choose(rule, embed(split.subset(members).images), per_class)])
    return split.subset(torch.cat(picked).sort().values)


def supervision_pack(split: Split, mentor: Mentor, view: View) -> SupervisionPack:
    """Asks the mentor about every sample of `split`. Raises `UserError` for answers that half precision cannot hold."""
    logits, activations = [], []
    for part in in_parts(split.images, 256):
        answers = mentor.answer(part)
        logits.append(answers.logits.half())
        activations.append({name: value.half() for name, value in answers.activations.items()})
    pack = SupervisionPack(
        pixels_of(split, view),
        split.labels,
        torch.cat(logits),
        {probe.name: torch.cat([one[probe.name] for one in activations]) for probe in mentor.probes},
    )
    for name, tensor in pack.tensors().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise UserError(
                f"the mentor's {name} does not fit half precision (largest 65504) or is not finite; check the mentor's "
                "weights and its view"
            )
    return pack


def pixels_of(split: Split, view: View) -> Tensor:
    """Every image of the split in the size of the view, before normalisation; read and scaled some at a time."""
    return torch.cat([view.pixels(part) for part in in_parts(split.images, 256)])
