"""The server's mentor and mentee, distilled from the fleet's average with the loss of this project (FedDF, arXiv 2006.07242).

A batch is half public samples under the average, half the server's own under the mentor as it was: so neither forgets what no
device has. Axes: N public samples, B batch, K classes.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mentee_device import Bundle
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from export.bundle.given import given_data
from export.bundle.knobs import device_knobs
from export.bundle.prepare import named_mentor, require_named
from export.schema import ExportSettings
from mentee.checkpoint import MenteeCheckpoint
from mentor.mentor import Answers, Mentor
from mentor.weights.file import file_digest
from mentor_mentee.data.load import load_data, under_budget
from mentor_mentee.data.splits import Split
from mentor_mentee.objective.knobs import Knobs
from mentor_mentee.objective.loss import mentee_loss
from mentor_mentee.objective.loss_spec import LossSpec
from mentor_mentee.objective.probes import MenteeOutputs, ProbedMentee

STEPS, BATCH, RATE = 400, 64, 1e-3
Forward = Callable[[Tensor], MenteeOutputs]


@dataclass(frozen=True)
class Public:
    """Public samples that the fleet was asked about: raw images, labels (−1: none) and the average logits."""

    images_NCHW: Tensor
    labels_N: Tensor
    logits_NK: Tensor

    @classmethod
    def of(cls, bundle: Bundle, arrays: Mapping[str, NDArray[Any]]) -> "Public":
        """Those that were answered; all, under the mentor, where none was."""
        samples = bundle.supervision().samples
        rows = np.flatnonzero(arrays["answered"])
        rows = rows if len(rows) else np.arange(len(samples))
        return cls(
            torch.from_numpy(samples.input[rows]),
            torch.from_numpy(samples.labels[rows]),
            torch.from_numpy(arrays["logits"][rows]),
        )


def distilled(
    checkpoint: MenteeCheckpoint,
    settings: ExportSettings,
    bundle: Bundle,
    arrays: Mapping[str, NDArray[Any]],
    out: Path,
    data: Any = None,
    steps: int = STEPS,
) -> MenteeCheckpoint:
    """The checkpoint of the new mentee, which names the new mentor; both are written beside `out`. Raises `UserError`."""
    require_named(checkpoint, data is not None)
    splits = given_data(data, checkpoint)[0] if data is not None else load_data(checkpoint.data, whole=True)
    own = under_budget({} if data is not None else checkpoint.data, splits).train
    public, knobs, before = Public.of(bundle, arrays), device_knobs(settings.loss, checkpoint), named_mentor(checkpoint)
    network = copy.deepcopy(before.network)
    taught(
        network,
        lambda image: MenteeOutputs(network(before.view(image)), {}, image),
        public,
        own,
        before,
        knobs,
        checkpoint,
        steps,
    )
    mentor = Mentor(network, before.view, checkpoint.probes)
    student = ProbedMentee(checkpoint.network(), checkpoint.probes, checkpoint.head)
    taught(student, lambda image: student(checkpoint.view(image)), public, own, mentor, knobs, checkpoint, steps)
    weights = out.with_name(f"{out.name}.mentor.safetensors")
    weights.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous().clone() for name, value in network.state_dict().items()}, weights)
    assert checkpoint.mentor is not None
    named = {
        **{name: value for name, value in checkpoint.mentor.items() if name != "precision"},  # it taught in float32
        "weights": str(weights.absolute()),
        "sha256": file_digest(weights),
        "weights_at": None,
    }
    made = replace(
        checkpoint,
        state={name: value.detach().clone() for name, value in student.mentee.state_dict().items()},
        probes=tuple(student.learned_probes()),
        mentor=named,
        shown="distilled from a fleet",
    )
    made.save(out.with_name(f"{out.name}.mentee.safetensors"))
    return made


def taught(
    module: nn.Module,
    forward: Forward,
    public: Public,
    own: Split,
    mentor: Mentor,
    knobs: Knobs,
    checkpoint: MenteeCheckpoint,
    steps: int,
) -> None:
    """Trains `module`, BatchNorm's statistics held, on public samples under the average and own ones under `mentor`'s softmax;
    its layers teach on both, where `forward` gives layers."""
    module.eval()
    for value in module.parameters():
        value.requires_grad_(True)
    optimizer = torch.optim.AdamW(module.parameters(), RATE, weight_decay=0.0)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    draw = torch.Generator().manual_seed(0)
    beta = 0.0 if checkpoint.knobs is None else checkpoint.knobs.beta
    numbers = {"alpha": knobs.alpha, "beta": beta, "gamma": knobs.gamma, "temperature": knobs.temperature}
    weights = {probe.name: probe.weight for probe in checkpoint.probes if probe.weight != 1}
    for _ in range(steps):
        fleet = torch.randint(len(public.images_NCHW), (BATCH // 2,), generator=draw)
        rows = torch.randint(len(own), (BATCH // 2,), generator=draw)
        image = torch.cat([public.images_NCHW[fleet], own.images[rows]])
        label_B = torch.cat([public.labels_N[fleet], own.labels[rows]])
        answers = mentor.answer(image)
        logits_BK = torch.cat([public.logits_NK[fleet], answers.logits[BATCH // 2 :]])
        loss = loss_of(forward(image), answers, logits_BK, label_B, numbers, checkpoint.loss, weights)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        rates.step()


def loss_of(
    outputs: MenteeOutputs,
    answers: Answers,
    logits_BK: Tensor,
    label_B: Tensor,
    knobs: Mapping[str, float],
    spec: LossSpec,
    weights: Mapping[str, float],
) -> Tensor:
    alpha, beta, gamma, temperature = (
        torch.full((1,), knobs[name]) for name in ("alpha", "beta", "gamma", "temperature")
    )
    return mentee_loss(
        outputs.logits,
        outputs.activations,
        labels_B=label_B,
        labelled_B=(label_B >= 0).float(),
        mentor_logits_BK=logits_BK,
        mentor_activations={name: answers.activations[name] for name in outputs.activations},
        supervised_B=None,
        alpha=alpha,
        beta=beta,
        gamma=gamma,
        temperature=temperature,
        spec=spec,
        weights=weights,
    ).loss.squeeze(0)
