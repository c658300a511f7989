"""The files of `stock/`: three graphs and the state that they start with."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from safetensors.numpy import save

from export.graph.weights import SMALLEST, share_weights
from export.stock.assemble import PARAMETERS, STATISTICS, StockGraphs
from export.stock.compact import compact

GRADIENTS_FILE, FORWARD_FILE, OPTIMIZER_FILE, STATE_FILE = (
    "gradients.onnx",
    "forward.onnx",
    "optimizer.onnx",
    "state.safetensors",
)
FROZEN = "frozen."  # before the names of weights that do not train


def write_stock(graphs: StockGraphs, folder: Path) -> None:
    """Writes the four files into `folder`, which must exist. Large weights that do not train lie in the state's file, once."""
    tensors: dict[str, NDArray[Any]] = {name: value for name, value in graphs.state.items() if value.size}
    for tensor in (*graphs.gradients.graph.initializer, *graphs.forward.graph.initializer):
        value = onnx.numpy_helper.to_array(tensor)
        if value.nbytes >= SMALLEST and value.dtype == np.float32:
            tensors[f"{FROZEN}{tensor.name}"] = value
    layouts = {PARAMETERS: graphs.parameters.json(), STATISTICS: graphs.statistics.json()}
    metadata = {name: json.dumps(layout, separators=(",", ":")) for name, layout in layouts.items()}
    state = folder / STATE_FILE
    state.write_bytes(in_order(save(tensors, metadata)))
    for name, model in (
        (GRADIENTS_FILE, graphs.gradients),
        (FORWARD_FILE, graphs.forward),
        (OPTIMIZER_FILE, graphs.optimizer),
    ):
        target = folder / name
        target.write_bytes(compact(model).SerializeToString(deterministic=True))
        share_weights(target, state)


def in_order(file: bytes) -> bytes:
    """The same safetensors file with its metadata by name. The library writes several entries in an order of chance, and the same
    export has the same bytes."""
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # as the format has it, so that the tensors stay aligned
    return len(text).to_bytes(8, "little") + text + file[end:]
