"""Task of a trial, as files in a folder: the forward graph, what trains, random batches. Imports no torch: the child has none."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.graph.optimizer_spec import Group, Optimizer, Schedule
from export.graph.ports import KNOBS, Port

BATCHES = (1, 2, 5)
FORWARD, ABOUT, FEEDS = "forward.onnx", "task.json", "feeds.npz"
Feeds = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Task:
    """`inputs`: name -> whether its first axis is the batch. `outputs`: the same, in the graph's order."""

    trainable: list[str]
    running: list[str]
    optimizer: Optimizer
    inputs: dict[str, bool]
    outputs: dict[str, bool]
    batches: list[int]

    def write(self, folder: Path, forward: onnx.ModelProto, feeds: Feeds) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        onnx.save(forward, folder / FORWARD)
        np.savez(folder / FEEDS, **feeds)  # type: ignore[arg-type]
        (folder / ABOUT).write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> "Task":
        about = json.loads((folder / ABOUT).read_text())
        given = about["optimizer"]
        optimizer = Optimizer(
            **{
                **given,
                "groups": [Group(**group) for group in given["groups"]],
                "schedule": Schedule(**given["schedule"]),
            }
        )
        return cls(**{**about, "optimizer": optimizer})


def ports_of(ports: Sequence[Port]) -> dict[str, bool]:
    return {port.name: bool(port.shape) and port.shape[0] == "batch" for port in ports}


def random_feeds(inputs: Sequence[Port], batch: int) -> Feeds:
    """Random samples, labels and answers for `inputs`, always the same; every sample counts, and every knob is 1."""
    random = np.random.default_rng(0)
    classes = next(int(port.shape[1]) for port in inputs if port.name == "mentor_logits")
    feeds: Feeds = {}
    for port in inputs:
        shape = [batch if size == "batch" else int(size) for size in port.shape]
        if port.dtype == "int64":
            feeds[port.name] = random.integers(0, classes, shape)
        elif port.name in (*KNOBS, "labelled", "supervised"):
            feeds[port.name] = np.ones(shape, np.float32)
        else:
            feeds[port.name] = random.standard_normal(shape, np.float32)
    return feeds
