"""Trains and exports what an owner's device starts from: a mentor and a mentee that saw everybody else.

The owner is not in the file they are trained on, so neither weights nor the mean and std of the view know of them. A fifth
of everybody else's samples is held out to see what learning costs the others; the golden set comes from another tenth.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from safetensors.numpy import save_file

from benchmarks.personal.files import Base
from distill.machine import Machine
from distill.run import distill
from distill.schema import DistillConfig
from export.bundle.write import export_bundle
from export.schema import ExportSettings
from mentee.checkpoint import MenteeCheckpoint
from mentor.mentor import Mentor
from mentor.restore import restore_mentor
from mentor_mentee.config.compose import compose
from mentor_mentee.data.load import load_data
from mentor_mentee.data.reading.array_columns import as_images

REPLAY_PER_CLASS = 100
MOVED = "{_target_:RandomAffine,degrees:0,translate:[0.1,0]}"  # in time
RECIPE = [
    "mentor=own",
    "mentor.network._target_=mentee.networks.SignalCNN",
    "mentor.network.widths=[64,96,128]",
    "mentor.fit.max_epochs=15",
    "mentor.fit.batch=32",
    f"mentor.fit.augment.transforms=[{MOVED}]",
    "mentee=signal_cnn",
    "mentee.network.widths=[32,32,40]",
    "trainer.max_epochs=20",
    "trainer.batch=32",
    f"trainer.augment.transforms=[{MOVED}]",
    "trainer.augment.views=8",
    "threads=1",
    "accelerator=cpu",
]


def export(base: Base, trainable: str) -> None:
    """The bundle in which `trainable` learns, as in export.network.trainable."""
    settings = ExportSettings(
        str(base.checkpoint),
        str(base.bundle(trainable)),
        supervision_per_class=REPLAY_PER_CLASS,
        trainable=trainable,
    )
    export_bundle(MenteeCheckpoint.load(base.checkpoint), base.bundle(trainable), settings)


def make_base(base: Base, data: Path, owners: str, layout: str, overrides: Sequence[str] = ()) -> None:
    """Trains what is not there yet. `data` is a file as `data=arrays` reads it, `owners` its column of owners."""
    base.folder.mkdir(parents=True, exist_ok=True)
    with np.load(data) as arrays:
        mine = arrays[owners].astype(str) == base.owner
        inputs, labels = arrays["inputs"], arrays["labels"]
    others = base.folder / "others.npz"
    if not others.is_file():
        np.savez(others, inputs=inputs[~mine], labels=labels[~mine])
    if not base.checkpoint.is_file():
        where = [
            "data=arrays",
            f"data.path='{others.absolute()}'",
            f"data.layout={layout}",
            f"run_dir='{base.folder / 'run'}'",
        ]
        config = compose(
            "distill", DistillConfig, [*where, f"cache_dir='{base.folder.parent / 'cache'}'", *RECIPE, *overrides]
        )
        distill(config, Machine("cpu", 1, Console(stderr=True)), title=base.owner)
    if not base.samples.is_file():
        checkpoint = MenteeCheckpoint.load(base.checkpoint)
        test = load_data(checkpoint.data).test
        mentor = mentor_of(checkpoint)
        owner_NCHW = as_images(inputs[mine], layout, f"inputs in '{data}'")
        columns = {
            "input": owner_NCHW.numpy(),
            "labels": labels[mine],
            "mentor_logits": answers(mentor, owner_NCHW),
            "others_input": test.images[:].numpy(),
            "others_labels": test.labels.numpy(),
        }
        save_file({name: np.ascontiguousarray(column) for name, column in columns.items()}, base.samples)


def mentor_of(checkpoint: MenteeCheckpoint) -> Mentor:
    if checkpoint.mentor is None:
        raise ValueError("a mentee without a mentor")
    return restore_mentor(checkpoint.mentor, ())


def answers(mentor: Mentor, input_NCHW: torch.Tensor) -> NDArray[np.float32]:
    """The mentor's logits [N, K]."""
    parts = [mentor.answer(input_NCHW[start : start + 100]).logits.numpy() for start in range(0, len(input_NCHW), 100)]
    return np.concatenate(parts)
