"""A flat vector taken apart."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from export.stock.tape import MOST_PIECES, Tape
from export.stock.values import Values


@pytest.mark.parametrize("count", [1, 2, 7, 8, 19, 49, 50, 400])
def test_a_vector_comes_apart_in_splits_that_webgpu_can_bind(count: int) -> None:
    sizes = [1 + place % 3 for place in range(count)]
    whole = np.arange(sum(sizes), dtype=np.float32)
    tape = Tape(Values({}, {}, {}, {}))
    pieces = tape.apart("vector", sizes)
    assert all(len(node.output) <= MOST_PIECES for node in tape.nodes)
    ends = [helper.make_node("Identity", [piece], [f"piece{place}"]) for place, piece in enumerate(pieces)]
    graph = helper.make_graph(
        [*tape.nodes, *ends],
        "apart",
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [sum(sizes)])],
        [helper.make_tensor_value_info(f"piece{place}", TensorProto.FLOAT, None) for place in range(count)],
        tape.tensors(),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = np.split(whole, np.cumsum(sizes)[:-1])
    for piece, part in zip(session.run(None, {"vector": whole}), expected, strict=True):
        np.testing.assert_array_equal(piece, part)
