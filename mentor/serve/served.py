"""All that a service answers for: a bundle's terms, and how its mentor is built again in a worker. Axes: N samples, K classes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mentor.mentor import Mentor
from mentor.precisions import FULL
from mentor.restore import restore_mentor
from mentor_mentee.errors import UserError
from mentor_mentee.objective.probes import Probe

LOGITS = 0.02  # of a sample's largest number: what half precision and another batch size make of it
AGREE = 0.98  # of the pack's samples must have the same highest logit, where the mentor sees them in another size


@dataclass(frozen=True)
class Served:
    """`mentor` as `restore_mentor` takes it. `to_classes`: the mentor's logits [N, K] over the bundle's classes, None where
    those are the mentor's own. `spare`: so many of the last classes the mentor has no opinion on."""

    bundle: str  # the manifest's id
    fingerprint: str  # of the mentor, as the manifest may have it
    classes: tuple[str, ...]
    shape: tuple[int, ...]  # of one raw sample
    dtype: str  # of raw samples: "uint8" or "float32"
    mentor: Mapping[str, Any]
    probes: tuple[Probe, ...]
    to_classes: Callable[[Tensor], Tensor] | None = None
    spare: int = 0

    def restored(self, precision: str | None = None) -> Mentor:
        """The mentor, in the precision that its checkpoint names or in another. Raises `UserError` as `restore_mentor` does."""
        about = dict(self.mentor) if precision is None else {**self.mentor, "precision": precision}
        return restore_mentor(about, self.probes)

    def in_classes(self, logits_NK: Tensor) -> Tensor:
        return logits_NK if self.to_classes is None else self.to_classes(logits_NK)

    @property
    def precision(self) -> str:
        """The one in which the pack was answered."""
        return str(self.mentor.get("precision", FULL))


def require_same_terms(served: Served, manifest: Mapping[str, Any], path: Path) -> None:
    """Raises `UserError` where the checkpoint at `path` has other samples or probes than the bundle."""
    view = manifest["preprocessing"]
    probes = {probe.name: (probe.mentor, tuple(probe.adapter.shape)) for probe in served.probes}
    named = {probe["name"]: (probe["mentor"], tuple(probe["shape"])) for probe in manifest["probes"]}
    for what, here, there in (
        ("samples", (served.dtype, served.shape), (view.get("dtype", "uint8"), tuple(view["shape"]))),
        ("probes", probes, named),
    ):
        if here != there:
            raise UserError(
                f"the {what} of '{path}' are {here}, the bundle's {there}; give the mentee.safetensors that it was made of"
            )


def require_recorded(served: Served, mentor: Mentor, pack: Mapping[str, Tensor], named: str | None) -> str:
    """A line on how the mentor's answers compare to those that the bundle's pack has recorded.

    `named`: the fingerprint in the manifest. Raises `UserError` where this is another mentor than the bundle's.
    """
    if named is not None and named != served.fingerprint:
        raise UserError(
            f"mentor=… has the fingerprint {served.fingerprint[:12]}…, the bundle names {named[:12]}…: it is another mentor; "
            "give the mentee.safetensors that the bundle was made of"
        )
    answers = mentor.answer(pack["input"])
    known = len(served.classes) - served.spare
    said, recorded = served.in_classes(answers.logits)[:, :known], pack["mentor_logits"][:, :known].float()
    same = float((said.argmax(1) == recorded.argmax(1)).float().mean())
    if mentor.view.shape[1:] != served.shape[1:]:  # it was asked about larger images than a device has
        if same < AGREE and named is None:
            raise UserError(
                f"the mentor agrees with only {same:.0%} of the bundle's recorded answers: it is another one"
            )
        return f"the same class as recorded for {same:.1%} of {len(said)} samples, which it sees in another size"
    pairs = {"logits": (said, recorded)}
    pairs |= {name: (value, pack[f"mentor_{name}"].float()) for name, value in answers.activations.items()}
    worst = max(farthest(one, other) for one, other in pairs.values())
    if not worst <= LOGITS:
        raise UserError(
            f"the mentor's answers are off by {worst:.2g} of those recorded in the bundle: it is another mentor, or its weights "
            "changed; give the mentee.safetensors that the bundle was made of"
        )
    return f"within {worst:.1e} of the {len(said)} recorded answers"


def farthest(one: Tensor, other: Tensor) -> float:
    """The largest difference, as a share of the largest number of its sample."""
    off, size = (one - other).abs().flatten(1).amax(1), other.abs().flatten(1).amax(1)
    return float((off / size.clamp(min=torch.finfo(torch.float16).tiny)).amax())
