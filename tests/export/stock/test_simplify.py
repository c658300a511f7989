"""Nodes that say something twice, or for nothing, go, and the numbers stay."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime

from export.stock.simplify import simplify

TEXT = """
<ir_version: 8, opset_import: ["" : 18]>
graph (float[n, 4] x, float[n, 1] g) => (float[n, 2, 2] y, float[n, 4] z)
  <int64[3] apart = {-1, 2, 2}, int64[2] rows = {-1, 4}, int64[2] again = {-1, 4}, int64[1] axis = {1},
   int64[1] none = {0}, int64[1] four = {4}, float[1] one = {1}> {
  first = Relu(x)
  second = Relu(x)
  long = Unsqueeze(first, axis)
  flat = Reshape(long, rows)
  back = Reshape(flat, again)
  sizes = Shape(x)
  wide = Expand(g, sizes)
  times = Mul(wide, second)
  all = Slice(times, none, four, axis)
  once = Mul(one, all)
  sum = Add(once, back)
  z = Identity(sum)
  y = Reshape(back, apart)
  unused = Exp(x)
}
"""


def test_a_graph_is_shorter_and_computes_the_same() -> None:
    long = onnx.parser.parse_model(TEXT)
    short = onnx.parser.parse_model(TEXT)
    simplify(short)
    onnx.checker.check_model(short, full_check=True)
    assert Counter(node.op_type for node in short.graph.node) == {"Relu": 1, "Reshape": 1, "Mul": 1, "Add": 1}
    assert len(short.graph.initializer) == 1
    sessions = [
        onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        for model in (long, short)
    ]
    for batch in (1, 3):
        feeds = {"x": np.random.default_rng(0).standard_normal((batch, 4), np.float32)}
        feeds["g"] = feeds["x"][:, :1] + 1
        for wanted, found in zip(*(session.run(None, feeds) for session in sessions), strict=True):
            assert np.array_equal(wanted, found)


def test_an_output_and_what_a_branch_reads_keep_their_makers() -> None:
    model = onnx.parser.parse_model("""
<ir_version: 8, opset_import: ["" : 18]>
graph (float[n] x, bool c) => (float[n] y, float[n] z) {
  y = Relu(x)
  twin = Relu(x)
  z = If(c) <
    then_branch = yes () => (float[n] a) { a = Identity(twin) },
    else_branch = no () => (float[n] b) { b = Neg(twin) }
  >
}
""")
    simplify(model)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Relu", "Relu", "If"]
