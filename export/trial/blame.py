"""Search for the operator that a trial failed at: by the name in the runtime's message, else by trials of ever shorter graphs.

A shorter graph has the first nodes of the forward graph, and as its loss the sum of all that they leave over and a trained
parameter reaches: so building, loading and stepping are all tried on it. The last node of the shortest that fails is to blame.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from export.graph.optimizer_spec import Optimizer
from export.graph.ports import Feeds
from export.graph.training_graph import origin_of
from export.rewrites.differentiable import Known, gradient_path, read_by
from export.trial.parent import Ended, run_child
from export.trial.task import Task

PATIENCE = 10.0  # seconds for a shorter graph, where a whole one has minutes
Origins = Mapping[str, str]  # node name -> module: operator (class, line)


def named_in(text: str, origins: Origins) -> str | None:
    """The origin of the forward node whose name stands in the runtime's message; of several, the longest name."""
    found = [name for name in origins if name and name in text]
    return origins[max(found, key=len)] if found else None


def search(
    forward: onnx.ModelProto, task: Task, feeds: Feeds, ended: Ended, origins: Origins, scratch: Path, patience: float
) -> str | None:
    """The origin of the node to blame; None where no shorter graph fails in the same way. A node that nothing trained reaches
    is only known to come before the first one that something does."""
    known = Known.of(forward, task.trainable)
    path, _ = gradient_path(forward, task.trainable, known)

    def fails(place: int) -> bool:
        folder = scratch / str(place)
        made, about = shorter(forward, task, path[: place + 1], known, ended.batch)
        about.write(folder, made, feeds)
        found = run_child(folder, min(patience, PATIENCE))
        return not found.trains and found.phase == ended.phase and bool(found.death) == bool(ended.death)

    place = first(len(path), fails)
    if place is None:
        return None
    found = origin_of(forward.graph.node[path[place]].name, origins)
    front = [node for node in list(forward.graph.node)[: path[0]] if node.op_type not in ("Constant", "Identity")]
    return f"before or in {found}" if place == 0 and front and found else found


def first(count: int, fails: Callable[[int], bool]) -> int | None:
    """The smallest place below `count` that fails, if the last one does; all after one that fails do, too."""
    low, high = 0, count - 1
    if count == 0 or not fails(high):
        return None
    while low < high:
        middle = (low + high) // 2
        if fails(middle):
            high = middle
        else:
            low = middle + 1
    return high


def shorter(
    forward: onnx.ModelProto, task: Task, path: Sequence[int], known: Known, batch: int | None
) -> tuple[onnx.ModelProto, Task]:
    """The graph up to the last node of `path`, and its task."""
    nodes = list(forward.graph.node)[: path[-1] + 1]
    used = {name for node in nodes for name in read_by(node)}
    made = [name for place in path for name in forward.graph.node[place].output if known.carries_gradient(name)]
    left = [name for name in dict.fromkeys(made) if name not in used]
    model = onnx.ModelProto()
    model.CopyFrom(forward)
    graph = model.graph
    constants = [
        helper.make_tensor("trial/flat", TensorProto.INT64, [1], [-1]),
        helper.make_tensor("trial/axis", TensorProto.INT64, [1], [0]),
    ]
    instead: dict[str, list[Any]] = {
        "node": nodes + total(left),
        "output": [helper.make_tensor_value_info("trial/loss", TensorProto.FLOAT, [1])],
        "input": [value for value in graph.input if value.name in used],
        "initializer": [tensor for tensor in graph.initializer if tensor.name in used] + constants,
    }
    for field, values in instead.items():
        kept = [type(value).FromString(value.SerializeToString()) for value in values]
        del getattr(graph, field)[:]
        getattr(graph, field).extend(kept)
    about = replace(
        task,
        trainable=[name for name in task.trainable if name in used],
        running=[name for name in task.running if name in used],
        optimizer=Optimizer(),  # groups would lack parameters
        inputs={name: batched for name, batched in task.inputs.items() if name in used},
        outputs={"loss": False},
        batches=[batch] if batch is not None else task.batches,
    )
    return model, about


def total(names: Sequence[str]) -> list[onnx.NodeProto]:
    """Nodes that add up all numbers of all values, into `trial/loss` of shape [1]."""
    nodes, sums = list[onnx.NodeProto](), list[str]()
    for number, name in enumerate(names):
        flat, added = f"trial/{number}/flat", f"trial/{number}/sum"
        nodes.append(helper.make_node("Reshape", [name, "trial/flat"], [flat]))
        nodes.append(helper.make_node("ReduceSum", [flat, "trial/axis"], [added], keepdims=1))
        sums.append(added)
    while len(sums) > 1:
        one, other, *sums = sums
        sums.insert(0, f"{other}/total")
        nodes.append(helper.make_node("Add", [one, other], [sums[0]]))
    return [*nodes, helper.make_node("Identity", sums, ["trial/loss"])]
