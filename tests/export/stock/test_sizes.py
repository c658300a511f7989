"""The sizes of inner values are named by the batch where inference does not find them."""

import onnx

from export.stock.sizes import name_sizes

TEXT = """
<ir_version: 8, opset_import: ["" : 18]>
graph (float[batch, 4] x, float[1] one) => (float[rows, 2] y)
  <int64[2] rows = {-1, 2}, int64[3] apart = {-1, 2, 2}, int64[1] flat = {-1}> {
  first = Relu(x)
  halves = Reshape(first, rows)
  lower = Neg(halves)
  square = Reshape(lower, apart)
  same = Reshape(one, flat)
  y = Reshape(square, rows)
}
"""


def test_reshapes_are_named_and_what_follows_from_them_is_not() -> None:
    model = onnx.parser.parse_model(TEXT)
    name_sizes(model)
    named = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in model.graph.value_info
    }
    assert named == {"halves": ["2*batch", 2], "square": ["batch", 2, 2]}
    onnx.checker.check_model(model, full_check=True)
