"""Two small networks on 8x8 digits, and the quiet Trainer that a script would have."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import distill
from distill.machine import Machine
from distill.mentors.find import FoundMentor
from mentee.networks import PlainCNN
from mentor_mentee.data.datasets import digits
from mentor_mentee.data.splits import Splits

OPTIONS: dict[str, Any] = {"in_channels": 1, "num_classes": 10, "widths": [4, 6]}
NORMAL: dict[str, Any] = {"mean": [0.3], "std": [0.4]}
Make = Callable[..., distill.Student]


@pytest.fixture(scope="session")
def splits() -> Splits:
    return digits()


@pytest.fixture(scope="session")
def train(splits: Splits) -> TensorDataset:
    return TensorDataset(splits.train.images, splits.train.labels)


@pytest.fixture
def make(mentor: FoundMentor, machine: Machine, train: TensorDataset) -> Make:
    """`make(loader, **options)`: a student; by default on uint8 batches of 64."""

    def made(loader: Any = None, mentee: nn.Module | None = None, **options: Any) -> distill.Student:
        given = {"mentee_recipe": distill.recipe(PlainCNN, **OPTIONS)} if mentee is None else {}
        return distill.distillation(
            PlainCNN(**OPTIONS) if mentee is None else mentee,
            mentor.network,
            DataLoader(train, 64) if loader is None else loader,
            **(NORMAL | given | {"machine": machine} | options),
        )

    return made


def trainer(folder: Path | None = None, **options: Any) -> pl.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    where = {"enable_checkpointing": False} if folder is None else {"default_root_dir": folder}
    return pl.Trainer(**({"accelerator": "cpu", "max_epochs": 1} | quiet | where | options))
