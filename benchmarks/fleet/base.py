"""The base that a fleet begins with: a mentor and its mentee on the server's few images, exported.

Axes: B batch.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from mentee_device import Samples
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.fleet.people import Source
from export.bundle.write import export_bundle
from export.graph.optimizer_spec import Optimizer
from export.schema import ExportSettings, Loss
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.data.load import load_data
from mentor_mentee.data.splits import Split
from mentor_mentee.data.views.view import View, normalisation
from mentor_mentee.objective.loss import mentee_loss
from mentor_mentee.objective.taps import find_head
from mentor_mentee.recipe import build

STEPS, BATCH, TEMPERATURE = 200, 64, 4.0


def make_base(source: Source, server: Samples, folder: Path, seed: int, per_class: int) -> MenteeCheckpoint:
    """`folder`/base, the bundle, and `folder`/mentee.safetensors; `per_class`: public samples of each class."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "server.npz", inputs=server.input, labels=server.labels)
    data = {
        "_target_": "mentor_mentee.data.arrays.arrays",
        "path": str(folder / "server.npz"),
        "layout": "NCHW",
        "cache": str(folder / "cache"),
    }
    splits = load_data(data, whole=True)
    view = View(splits.shape, *normalisation(splits.train), splits.dtype)
    torch.manual_seed(seed)
    mentor, mentee = build(source.mentor, "mentor"), build(source.mentee, "mentee")
    train(mentor, splits.train, view, lambda image: None, seed)
    train(mentee, splits.train, view, lambda image: mentor(view(image)).detach(), seed)
    weights = folder / "mentor.safetensors"
    save_file({name: value.contiguous() for name, value in mentor.state_dict().items()}, weights)
    made = MenteeCheckpoint(
        recipe=dict(source.mentee),
        state=mentee.state_dict(),
        head=find_head(mentee, view(splits.train.images[:2])),
        view=view,
        classes=splits.classes,
        probes=(),
        mentor={"network": dict(source.mentor), "weights": str(weights), "view": asdict(view)},
        data=data,
        accuracy={},
    )
    made.save(folder / "mentee.safetensors")
    settings = ExportSettings(
        supervision_per_class=per_class,
        golden_per_class=8,
        loss=Loss(1.0, 0.0, 1.0, TEMPERATURE),
        optimizer=Optimizer(learning_rate=0.001),
        backend="stock",
        overwrite=True,
    )
    export_bundle(made, folder / "base", settings)
    return made


def train(network: nn.Module, data: Split, view: View, ask: Callable[[Tensor], Tensor | None], seed: int) -> None:
    """By Adam under cosine, with the loss of this project where `ask` gives a mentor's logits; ends in eval mode."""
    draw = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    one, none = torch.ones(1), torch.zeros(1)
    network.train()
    for _ in range(STEPS):
        rows = torch.randint(len(data), (BATCH,), generator=draw)
        image, label_B = data.images[rows], data.labels[rows]
        answer, logits_BK = ask(image), network(view(image))
        loss = mentee_loss(
            logits_BK,
            {},
            labels_B=label_B,
            labelled_B=torch.ones(BATCH),
            mentor_logits_BK=logits_BK.detach() if answer is None else answer,
            mentor_activations={},
            supervised_B=None,
            alpha=one,
            beta=none,
            gamma=none if answer is None else one,
            temperature=TEMPERATURE * one,
        ).loss
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        rates.step()
    network.eval()
