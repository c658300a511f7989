"""The table of what ONNX Runtime Training differentiates, asked of the runtime itself and compared with central differences."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper, parser

from export.graph.artifacts import silenced
from export.rewrites.differentiable import DIFFERENTIABLE, Known, gradient_path, obstacle

C4 = "c = Constant<value_floats=[1.5,0.7,2.0,0.25]>()\n"
BOUNDS = "a = Constant<value_float=-0.5>()\nb = Constant<value_float=0.5>()\n"
CONV = "w = Constant<value=float[2,3,2,2]{" + ",".join(str(i % 5 - 2) for i in range(24)) + "}>()\n"
SAME = '<auto_pad="SAME_UPPER",kernel_shape=[2,2]>'
INDEX = "i = Constant<value_ints=[1,0]>()\n"


def recurrent(op: str, gates: int, outputs: str) -> str:
    """4 steps of 3 samples of 8 numbers, 2 hidden ones. Both weights depend on x: without their gradients the process dies."""
    numbers = [((i * 7) % 11 - 5) / 10 for i in range(2 * gates * 8)]
    weights = ",".join(map(str, numbers)), ",".join(map(str, numbers[: 4 * gates]))
    return (
        "t = Constant<value_ints=[4,3,8]>()\ns = Reshape(x, t)\n"
        f"w = Constant<value=float[1,{2 * gates},8]{{{weights[0]}}}>()\n"
        f"r = Constant<value=float[1,{2 * gates},2]{{{weights[1]}}}>()\n"
        f"b = Constant<value=float[1,{4 * gates}]{{{weights[1]}}}>()\n"
        f"f = Constant<value=float[1,3,2]{{0.1,0.2,-0.1,0.3,0.1,0}}>()\n"
        "n = ReduceMean<keepdims=0>(x)\nu = Add(w, n)\nv = Add(r, n)\n"
        f"{outputs} = {op}(s, u, v, b, , f{', f' if gates == 4 else ''})"
    )


ELEMENTWISE = "ReduceMax ReduceMin ReduceL1 ReduceSumSquare Floor Transpose"

DIFFERENTIATED = {
    **{
        op: f"y = {op}(x)"
        for op in [
            "Abs",
            "Neg",
            "Exp",
            "Sigmoid",
            "Tanh",
            "Relu",
            "LeakyRelu",
            "Sin",
            "Cos",
            "Erf",
            "Identity",
            "Softmax",
            "LogSoftmax",
        ]
    },
    **{
        op: f"y = {op}(x)"
        for op in ["Flatten", "GlobalAveragePool", "ReduceSum", "ReduceMean", "ReduceL2", "ReduceLogSumExp", "Trilu"]
    },
    **{
        op: f"h = Constant<value_float=0.5>()\nz = Abs(x)\ns = Add(z, h)\ny = {op}(s)"
        for op in ("Sqrt", "Log", "Reciprocal")
    },
    **{op: f"{C4}y = {op}(x, c)" for op in ("Add", "Sub", "Mul", "Div", "Min", "Max")},
    "Pow": "c = Constant<value_float=3.0>()\ny = Pow(x, c)",
    "Clip": f"{BOUNDS}y = Clip(x, a, b)",
    "Cast": "d = Cast<to=11>(x)\ny = Cast<to=1>(d)",
    "Concat": "n = Neg(x)\ny = Concat<axis=1>(x, n)",
    "Conv": f"{CONV}y = Conv<kernel_shape=[2,2],pads=[1,0,0,1],strides=[2,1]>(x, w)",
    "MaxPool": "y = MaxPool<kernel_shape=[3,3],strides=[2,2],pads=[1,1,1,1]>(x)",
    "Expand": "t = Constant<value_ints=[2,2,3,4,4]>()\ny = Expand(x, t)",
    "Tile": "t = Constant<value_ints=[1,2,1,1]>()\ny = Tile(x, t)",
    "Gather": f"{INDEX}y = Gather<axis=1>(x, i)",
    "GatherND": "i = Constant<value=int64[2,2]{0,1,1,2}>()\ny = GatherND(x, i)",
    "GatherElements": "i = Constant<value=int64[1,1,1,2]{0,1}>()\ny = GatherElements<axis=3>(x, i)",
    "ScatterElements": "i = Constant<value=int64[1,1,1,1]{1}>()\nu = Constant<value=float[1,1,1,1]{5}>()\n"
    "y = ScatterElements(x, i, u)",
    "ScatterND": "i = Constant<value=int64[1,4]{0,1,2,3}>()\nu = Constant<value_floats=[2.0]>()\ny = ScatterND(x, i, u)",
    "Gemm": "t = Constant<value_ints=[6,16]>()\nm = Reshape(x, t)\nq = Constant<value=float[1,16]{"
    + ",".join(str(i % 3 - 1) for i in range(16))
    + "}>()\ny = Gemm<transB=1>(m, q)",
    "MatMul": f"{C4}ax = Constant<value_ints=[1]>()\nv = Unsqueeze(c, ax)\ny = MatMul(x, v)",
    "Pad": "p2 = Constant<value_ints=[0,0,1,1,0,0,0,1]>()\ny = Pad(x, p2)",
    "Reshape": "t = Constant<value_ints=[2,-1]>()\ny = Reshape(x, t)",
    "Slice": "a = Constant<value_ints=[1]>()\nb = Constant<value_ints=[3]>()\n"
    "ax = Constant<value_ints=[2]>()\ny = Slice(x, a, b, ax)",
    "Split": "a, b = Split<axis=3,num_outputs=2>(x)\nn = Exp(a)\ny = Mul(n, b)",
    "Squeeze": f"{INDEX}ax = Constant<value_ints=[1]>()\nu = Unsqueeze(x, ax)\ny = Squeeze(u, ax)",
    "Unsqueeze": "ax = Constant<value_ints=[1]>()\ny = Unsqueeze(x, ax)",
    "TopK": "k = Constant<value_ints=[2]>()\ny, i = TopK(x, k)",
    "Transpose": "y = Transpose<perm=[0,2,3,1]>(x)",
    "Where": "z = Constant<value_float=0.0>()\nc = Greater(x, z)\nn = Mul(x, x)\ny = Where(c, x, n)",
    "Dropout": "y = Dropout(x)",
    "GRU": recurrent("GRU<hidden_size=2,linear_before_reset=1>", 3, "y"),
    "LSTM": recurrent("LSTM<hidden_size=2>", 4, "y, h, c"),
}
ELSEWHERE = {"BatchNormalization", "Gelu"}  # tests/export/network/test_batch_norm.py; Gelu came with opset 20
WRONG = {
    "Conv": f"{CONV}y = Conv{SAME}(x, w)",
    "Split": "a, y = Split<axis=3,num_outputs=2>(x)",
}
REFUSED = {
    **{
        op: f"y = {op}(x)"
        for op in [
            "Elu",
            "Selu",
            "Celu",
            "Softplus",
            "Softsign",
            "HardSigmoid",
            "HardSwish",
            "Mish",
            "Tan",
            "GlobalMaxPool",
        ]
    },
    **{op: f"y = {op}(x)" for op in ELEMENTWISE.split()},
    **{op: f"{C4}y = {op}(x, c)" for op in ("PRelu", "Mean", "Sum")},
    "Pad": 'p2 = Constant<value_ints=[0,0,1,1,0,0,0,1]>()\ny = Pad<mode="reflect">(x, p2)',
    "LayerNormalization": f"{C4}y = LayerNormalization(x, c)",
    "Einsum": 'y = Einsum<equation="abcd->acbd">(x)',
    "DepthToSpace": "e = Concat<axis=1>(x, x, x, x)\ny = DepthToSpace<blocksize=2>(e)",
    "Resize": "s = Constant<value_floats=[1.0,1.0,2.0,2.0]>()\ny = Resize(x, , s)",
    "ConvTranspose": "w = Constant<value=float[3,1,1,1]{1,2,3}>()\ny = ConvTranspose<kernel_shape=[1,1]>(x, w)",
}


def asked(lines: str) -> onnx.ModelProto:
    """Σ y² of y that `lines` make of x, which is the parameter p times the input's sum."""
    model = parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 18]>
    g (float["batch"] input) => (float[1] loss) {{
       scale = ReduceSum<keepdims=0>(input)
       x = Mul(p, scale)
       {lines}
       square = Mul(y, y)
       total = ReduceSum<keepdims=0>(square)
       one = Constant<value_ints=[1]>()
       loss = Reshape(total, one)
    }}""")
    p = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(p, "p"))
    return model


def runtimes(model: onnx.ModelProto, folder: Path) -> np.ndarray[Any, Any]:
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from onnxruntime.training import artifacts
    from onnxruntime.training.api import CheckpointState, Module

    with silenced():
        artifacts.generate_artifacts(model, requires_grad=["p"], frozen_params=[], artifact_directory=str(folder))
        state = CheckpointState.load_checkpoint(str(folder / "checkpoint"))
        module = Module(str(folder / "training_model.onnx"), state, str(folder / "eval_model.onnx"))
    module.train()
    module(np.full(2, 0.5, np.float32))
    return np.array(state.parameters["p"].grad, np.float64).reshape(2, 3, 4, 4)


def central_differences(model: onnx.ModelProto, step: float = 4e-3) -> np.ndarray[Any, Any]:
    free = onnx.ModelProto()
    free.CopyFrom(model)
    p = numpy_helper.to_array(free.graph.initializer.pop())
    free.graph.input.append(helper.make_tensor_value_info("p", onnx.TensorProto.FLOAT, p.shape))
    session = onnxruntime.InferenceSession(free.SerializeToString(), providers=["CPUExecutionProvider"])
    found = np.zeros(p.size)
    for i in range(p.size):
        losses = []
        for sign in (1, -1):
            moved = p.copy()
            moved.flat[i] += sign * step
            losses.append(float(session.run(None, {"input": np.full(2, 0.5, np.float32), "p": moved})[0][0]))
        found[i] = (losses[0] - losses[1]) / (2 * step)
    return found.reshape(p.shape)


def off(model: onnx.ModelProto, folder: Path) -> float:
    expected = central_differences(model)
    return float(np.abs(runtimes(model, folder) - expected).max() / np.abs(expected).max())


def obstacles(model: onnx.ModelProto) -> list[str]:
    known = Known.of(model, ["p"])
    path, reached = gradient_path(model, ["p"], known)
    return [why for i in path if (why := obstacle(model.graph.node[i], known, reached)) is not None]


@pytest.mark.parametrize("op", DIFFERENTIATED)
def test_the_runtime_differentiates_what_the_table_says(op: str, tmp_path: Path) -> None:
    model = asked(DIFFERENTIATED[op])
    assert op in {node.op_type for node in model.graph.node}
    assert obstacles(model) == []
    assert off(model, tmp_path) < 1e-2


def test_the_table_has_no_operator_that_was_not_asked() -> None:
    assert set(DIFFERENTIATED) | ELSEWHERE == DIFFERENTIABLE


@pytest.mark.parametrize("op", REFUSED)
def test_the_runtime_refuses_what_the_table_leaves_out(op: str, tmp_path: Path) -> None:
    model = asked(REFUSED[op])
    assert obstacles(model)
    with pytest.raises(Exception, match=r".") as refused:
        runtimes(model, tmp_path)
    assert not isinstance(refused.value, AssertionError)


@pytest.mark.parametrize("op", WRONG)
def test_the_runtime_is_wrong_without_a_word_where_the_table_says_so(op: str, tmp_path: Path) -> None:
    model = asked(WRONG[op])
    assert len(obstacles(model)) == 1
    assert off(model, tmp_path) > 0.1
