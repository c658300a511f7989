"""A rewrite computes what the operator did, has the gradient that torch computes, and is refused where it does not."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import parser
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.bundles.trainable_models import judge
from export.rewrites import rewrite as rewrites
from export.rewrites.differentiable import DIFFERENTIABLE, Known, gradient_path, obstacle
from export.rewrites.rewrite import NOT_ALLOWED, require_differentiable, rewrite
from mentor_mentee.errors import UserError

ACTIVATIONS = [
    nn.Hardswish(), nn.Hardsigmoid(), nn.SiLU(), nn.ELU(0.7), nn.SELU(), nn.CELU(0.6), nn.PReLU(4), nn.Softplus(), nn.Mish(),
    nn.Softsign(), nn.GELU(), nn.GELU("tanh"), nn.ReLU6(), nn.LeakyReLU(0.2), nn.Tanhshrink(), nn.Hardtanh(),
]  # fmt: skip


class Gathered(nn.Module):
    """Every kind of layer that the runtime cannot differentiate beside each other, each on the same four channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.activations = nn.ModuleList(ACTIVATIONS)
        self.norms = nn.ModuleList([nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True), nn.LayerNorm([4, 6, 6])])
        self.reflect = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.head = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        total = y
        for layer in (*self.activations, *self.norms):
            total = total + layer(y)
        total = (
            total + F.hardswish(self.reflect(total)) + total.amax((2, 3), keepdim=True) - total.amin(1, keepdim=True)
        )
        first, second = total.chunk(2, 1)
        shuffled = F.pixel_unshuffle(F.pixel_shuffle(torch.cat([second, first], 1), 2), 2)
        total = torch.einsum("bchw,bdhw->bchw", total, shuffled) + total.cumsum(2)
        pooled = (
            self.pool(total).mean((2, 3)) + F.adaptive_max_pool2d(total, 1).flatten(1) + F.normalize(total.mean((2, 3)))
        )
        return self.head(pooled)  # type: ignore[no-any-return]


def test_every_layer_of_the_list_trains_as_in_torch() -> None:
    torch.manual_seed(0)
    judged = judge(Gathered(), (1, 6, 6))
    found = {finding.op for finding in judged.findings}
    assert found >= {
        "HardSwish",
        "HardSigmoid",
        "Elu",
        "Selu",
        "Softplus",
        "PRelu",
        "LayerNormalization",
        "Pad",
        "ReduceMax",
    }
    by_module = {finding.module: finding for finding in judged.findings}
    assert by_module["activations.0"].op == "HardSwish"
    assert by_module["activations.0"].kind == "Hardswish"
    assert "" in by_module  # the functions, called by the network itself
    for name, value in judged.gradients.items():
        assert value < max(1e-5, 2 * judged.own[name]), name


def model_of(lines: str, x: tuple[int, ...] = (2, 4, 6, 6)) -> onnx.ModelProto:
    """`lines` make y of x, which is the parameter times the input."""
    shape = ",".join(map(str, x))
    model = parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 18]>
    g (float[{shape}] input) => (y) {{
       x = Mul(input, p)
       {lines}
    }}""")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(x, np.float32), "p"))
    return model


CASES = {
    "Einsum": 'y = Einsum<equation="bchw,bdhw->bhcd">(x, x)',
    "Einsum of one": 'y = Einsum<equation="bchw->bc">(x)',
    "Einsum of a batch": 'y = Einsum<equation="bchw,bcwk->bckh">(x, x)',
    "Einsum of sums": 'y = Einsum<equation="bchw,bcij->bc">(x, x)',
    "Einsum of a vector": 'y = Einsum<equation="bchw,bdkw->wb">(x, x)',
    "Celu": "y = Celu<alpha=0.5>(x)",
    "Tan": "small = Tanh(x)\ny = Tan(small)",
    "Pow": "c = Constant<value_float=1.5>()\ny = Pow(c, x)",
    "Sum": "c = Constant<value_float=1.5>()\ny = Sum(x, c, x)",
    "Mean": "c = Constant<value_float=1.5>()\ny = Mean(x, c, x)",
    "ReduceMin": "a = Constant<value_ints=[1,-1]>()\ny = ReduceMin<keepdims=0>(x, a)",
    "ReduceL1": "a = Constant<value_ints=[1]>()\ny = ReduceL1(x, a)",
    "ReduceSumSquare": "y = ReduceSumSquare<keepdims=0>(x)",
    "CumSum": "a = Constant<value=int64 {1}>()\ny = CumSum<exclusive=1,reverse=1>(x, a)",
    "GlobalMaxPool": "y = GlobalMaxPool(x)",
    "Transpose": "y = Transpose(x)",
    "Split": "half, y = Split<axis=1,num_outputs=2>(x)",
    "Pad": "p2 = Constant<value_ints=[1,2,2,1]>()\nv = Constant<value_float=0.5>()\na = Constant<value_ints=[2,-1]>()\n"
    "y = Pad(x, p2, v, a)",
    "AveragePool": 'y = AveragePool<auto_pad="SAME_LOWER",kernel_shape=[3,2],strides=[2,1]>(x)',
    "MaxPool": 'y = MaxPool<auto_pad="SAME_UPPER",kernel_shape=[2,3],strides=[2,2]>(x)',
    "DepthToSpace": 'y = DepthToSpace<blocksize=2,mode="CRD">(x)',
    "SpaceToDepth": "y = SpaceToDepth<blocksize=3>(x)",
}


@pytest.mark.parametrize("op", CASES)
def test_a_rewrite_computes_what_the_operator_did(op: str) -> None:
    """Against onnx's own reference implementation, in float64, not the runtime that the rewrite was checked with."""
    model = model_of(CASES[op])
    x = np.random.default_rng(1).normal(size=(2, 4, 6, 6))
    before = reference(model, x)
    (finding,) = rewrite(model, ["p"])
    assert finding.op == op.split()[0]
    assert finding.rewrite, finding
    known = Known.of(model, ["p"])
    path, reached = gradient_path(model, ["p"], known)
    assert path
    assert all(obstacle(model.graph.node[i], known, reached) is None for i in path)
    after = reference(model, x)
    assert after.shape == before.shape
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)


def reference(model: onnx.ModelProto, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    from onnx.reference import ReferenceEvaluator

    (y,) = ReferenceEvaluator(model).run(None, {"input": x.astype(np.float32)})
    return np.asarray(y)


def test_a_rewrite_that_computes_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("y = Elu(x)")
    monkeypatch.setitem(rewrites.RULES, "Elu", (lambda w, node, known: w("Relu", node.input[0]), "wrong"))
    (finding,) = rewrite(model, ["p"])
    assert finding.rewrite is None
    assert "differs by" in str(finding.refused)
    assert [node.op_type for node in model.graph.node] == ["Mul", "Elu"]
    with pytest.raises(UserError, match=r"Elu has no gradient .* its rewrite differs by"):
        require_differentiable([finding])


def test_nothing_is_rewritten_where_no_gradient_is_needed_or_none_is_allowed() -> None:
    assert rewrite(model_of("y = Elu(x)"), []) == []
    beside = model_of("e = Elu(input)\ny = Add(x, e)")
    assert rewrite(beside, ["p"]) == []
    (finding,) = rewrite(model_of("y = Elu(x)"), ["p"], allowed=False)
    assert (finding.rewrite, finding.refused) == (None, NOT_ALLOWED)


def test_rules_write_differentiable_operators_only() -> None:
    written = set()
    for lines in CASES.values():
        model = model_of(lines)
        rewrite(model, ["p"])
        written |= {node.op_type for node in model.graph.node}
    assert written <= DIFFERENTIABLE | {"Constant"}
