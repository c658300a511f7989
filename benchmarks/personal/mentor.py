"""A mentor that has seen an owner's labels: the server's side of the arm "adapted mentor".

The owner's labelled samples have to leave the device for it; no other arm asks that. Axes: N samples, B batch, K classes.
"""

from pathlib import Path

import numpy as np
import torch
from mentee_device import Samples
from numpy.typing import NDArray
from torch.nn import functional as F

from benchmarks.personal.base import answers
from benchmarks.personal.files import Base
from mentee.checkpoint import MenteeCheckpoint
from mentor.mentor import Mentor
from mentor.weights.load import load_weights
from mentor_mentee.data.load import load_data
from mentor_mentee.data.views.view import View
from mentor_mentee.recipe import build

STEPS, LEARNING_RATE, BATCH, REPLAY, OWNER_WEIGHT = 40, 1e-3, 8, 16, 4.0


def adapted_logits(base: Base, labelled: Samples, input_NCHW: NDArray[np.float32], draw: int) -> NDArray[np.float32]:
    """[N, K] of the mentor after `STEPS` AdamW steps on `labelled` and on its training samples with labels; BatchNorm held."""
    checkpoint = MenteeCheckpoint.load(base.checkpoint)
    about = checkpoint.mentor
    if about is None:
        raise ValueError("a mentee without a mentor")
    network, view = build(about["network"], "the mentor"), View.restored(about["view"])
    load_weights(network, Path(about["weights"]))
    network.eval()
    train, random = load_data(checkpoint.data).train, np.random.default_rng([draw, 2])
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE)
    for _ in range(STEPS):
        mine = random.choice(len(labelled), min(BATCH, len(labelled)), replace=False)
        rest = torch.from_numpy(random.choice(len(train), REPLAY, replace=False))
        image_BCHW = torch.cat([torch.from_numpy(labelled.input[mine]), train.images[rest]])
        label_B = torch.cat([torch.from_numpy(labelled.labels[mine]), train.labels[rest]])
        weight_B = torch.tensor([OWNER_WEIGHT] * len(mine) + [1.0] * REPLAY)
        loss_B = F.cross_entropy(network(view(image_BCHW)), label_B, reduction="none")
        optimizer.zero_grad()
        ((loss_B * weight_B).sum() / weight_B.sum()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return answers(Mentor(network, view), torch.from_numpy(input_NCHW))
