"""Task of a trial, as files in a folder: the forward graph, what trains, random batches. Imports no torch: the child has none."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx

from export.graph.optimizer_spec import Group, Optimizer, Schedule
from export.graph.ports import Feeds, Port

BATCHES = (1, 2, 5)
FORWARD, ABOUT, FEEDS = "forward.onnx", "task.json", "feeds.npz"


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
