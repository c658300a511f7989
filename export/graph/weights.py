"""The weights of a bundle, stored once: trainable ones in the checkpoint, frozen ones in eval_model.onnx.

ONNX calls that external data: a tensor names a file beside the graph, an offset and a length. Any ONNX Runtime follows it when
it is given the graph's path. The checkpoint of ONNX Runtime Training keeps every parameter as one run of little-endian
float32, so inference.onnx can point into it, and nothing of the training API is needed for that. What is frozen is a constant of
the graphs, not a parameter that the checkpoint holds without a gradient: ONNX Runtime packs constants once, before the first
step, and a checkpoint is also what every version of an owner's state holds. It is written out in eval_model.onnx, since a graph
that the runtime writes from that one has to stand alone; the training graph and inference.onnx point there.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from safetensors.numpy import load_file

from export.graph.artifacts import silenced
from export.graph.flat import read_layouts

SMALLEST = 1024  # bytes; below it a pointer saves nothing
ALIGNMENT = 4  # of a float32, wherever a runtime maps the file
PARAMETERS = "parameters.bin"


def share_weights(graph: Path, *files: Path) -> None:
    """Drops from `graph` every large tensor that one of `files`, in the graph's folder or below it, holds as well."""
    model, stored = onnx.load(graph), {file: file.read_bytes() for file in files}
    for tensor in model.graph.initializer:
        data = onnx.numpy_helper.to_array(tensor).tobytes()
        if len(data) < SMALLEST:
            continue
        found = ((file, find_aligned(content, data)) for file, content in stored.items())
        file, offset = next(((file, offset) for file, offset in found if offset >= 0), (graph, -1))
        if offset < 0:
            continue
        for field in ("raw_data", "float_data"):
            tensor.ClearField(field)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        location = file.relative_to(graph.parent).as_posix()
        for key, value in (("location", location), ("offset", offset), ("length", len(data))):
            tensor.external_data.add(key=key, value=str(value))
    graph.write_bytes(model.SerializeToString(deterministic=True))


def align_weights(graph: Path) -> None:
    """Moves the large tensors of `graph` to offsets that others may point to, by spaces in the `doc_string` of the one before
    (of the first, in the graph's name): ONNX has no padding."""
    model = onnx.load(graph)
    large = [tensor for tensor in model.graph.initializer if len(tensor.raw_data) >= SMALLEST]
    for tensor in large:
        tensor.doc_string = ""  # present, so that each letter of it is one byte more
    for _ in range(4):  # a length prefix that grows by a byte may take another round
        stored, start, shift = model.SerializeToString(deterministic=True), 0, 0
        for before, tensor in zip([None, *large], large, strict=False):
            start = stored.index(tensor.raw_data, start)
            missing = -(start + shift) % ALIGNMENT
            if before is None:
                model.graph.name += " " * missing
            else:
                before.doc_string += " " * missing
            shift += missing
            start += len(tensor.raw_data)
        if not shift:
            break
    graph.write_bytes(model.SerializeToString(deterministic=True))


def find_aligned(stored: bytes, data: bytes) -> int:
    offset = stored.find(data)
    while offset >= 0 and offset % ALIGNMENT:
        offset = stored.find(data, offset + 1)
    return offset


def make_nominal(
    forward: onnx.ModelProto,
    trainable: Sequence[str],
    running: Sequence[str],
    folder: Path,
    state: Path | None = None,
) -> Path:
    """Moves the weights out of `folder`/checkpoint into `folder`/parameters.bin, whose path is returned; or leaves them to
    `state`, the file of stock graphs that has them as well.

    The first is little-endian float32, one parameter after the other as `Module.copy_buffer_to_parameters(…, False)` takes
    them, in Python and on the web. The checkpoint keeps names and shapes: 0.4 KB.
    """
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from onnxruntime.training.api import CheckpointState, Module
    from onnxruntime.training.onnxblock import save_checkpoint

    checkpoint = folder / "checkpoint"
    with silenced():
        loaded = CheckpointState.load_checkpoint(str(checkpoint))
        module = Module(str(folder / "training_model.onnx"), loaded, str(folder / "eval_model.onnx"))
        parameters = module.get_contiguous_parameters(trainable_only=False).numpy()
        if state is None:
            (folder / PARAMETERS).write_bytes(parameters.astype("<f4").tobytes())
        elif not np.array_equal(parameters, in_order(state, [*trainable, *running])):
            raise AssertionError("the training graph has its parameters in another order than the manifest")
        tensors = {tensor.name: tensor for tensor in forward.graph.initializer}
        stored = ([tensors[name] for name in names] for names in (trainable, running))
        save_checkpoint(tuple(stored), checkpoint, nominal_checkpoint=True)
    return folder / PARAMETERS if state is None else state


def in_order(state: Path, names: Sequence[str]) -> NDArray[np.float32]:
    """Parameters and running statistics of a stock state, one behind the other as `names` has them."""
    stored = load_file(state)
    layouts = read_layouts(state)
    parts = {
        name: value
        for vector, layout in layouts.items()
        if vector in stored
        for name, value in layout.apart(stored[vector]).items()
    }
    return np.concatenate([parts[name].reshape(-1) for name in names])


def fill_nominal(module: Any, folder: Path) -> None:
    """Gives a `Module` on the nominal checkpoint of `folder` its parameters, out of `parameters.bin` or the stock state
    beside the folder; does nothing where there is neither."""
    import onnxruntime

    state = (
        (folder / "checkpoint").resolve().parent.parent / "stock" / "state.safetensors"
    )  # the folder may be one of links
    if (folder / PARAMETERS).exists():
        flat = np.fromfile(folder / PARAMETERS, "<f4").astype(np.float32)
    elif state.exists():
        model = onnx.load(folder / "training_model.onnx", load_external_data=False)
        known = {name for layout in read_layouts(state).values() for name in layout.names}
        flat = in_order(state, [value.name for value in model.graph.input if value.name in known])
    else:
        return
    buffer = onnxruntime.OrtValue.ortvalue_from_numpy(flat)
    module.copy_buffer_to_parameters(buffer._ortvalue, trainable_only=False)
