"""Operators without a gradient: any may stand before the first trained layer; and those that train by a rewrite, beside torch."""

from collections.abc import Callable

import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.nn import functional as F

from export.network.checks import require_exportable
from export.preflight import look
from export.rewrites.differentiable import WITHOUT_END, read_by
from mentor_mentee.errors import UserError

SHAPE = (2, 8, 8)
TURNED = torch.tensor([[[0.9, 0.1, 0.0], [0.0, 1.0, 0.1]]])


def folded(x: Tensor) -> Tensor:
    return F.fold(F.unfold(x, 2), (8, 8), 2)


def sampled(x: Tensor) -> Tensor:
    return F.grid_sample(x, F.affine_grid(TURNED.repeat(x.shape[0], 1, 1), [*x.shape], False), align_corners=False)


def one_hot(x: Tensor) -> Tensor:
    return F.one_hot(x.argmax(1), 4).float()


def scattered(x: Tensor) -> Tensor:
    return torch.zeros_like(x).scatter(1, x.argmax(1, keepdim=True), 1.0)


FRONT: list[Callable[[Tensor], Tensor]] = [
    folded,
    sampled,
    one_hot,
    scattered,
    torch.sign,
    lambda x: (x * 3).round(),
    lambda x: (x * 3).floor() + (x * 5).ceil() + (x * 7).trunc(),
    lambda x: F.local_response_norm(x, 3),
    lambda x: F.instance_norm(x) + F.group_norm(x, 2) + F.layer_norm(x, (8, 8)),
    lambda x: F.adaptive_max_pool2d(x, 1) + F.lp_pool2d(x, 2, 2),
    lambda x: F.max_pool2d(x, 2, return_indices=True)[1].float(),
    lambda x: x.prod(2) + x.max(3)[0],
    lambda x: x.cumsum(2),
    lambda x: torch.einsum("bchw,bdhw,bche->bde", x, x, x),
    lambda x: F.pixel_shuffle(x, 2),
    lambda x: x.flatten(1).topk(5, 1)[1].float(),
    lambda x: x.sort(2)[0] + x.argsort(3).float(),
    lambda x: torch.bucketize(x, torch.tensor([-1.0, 0.0, 1.0])).float(),
    lambda x: x.fmod(0.7) + x.remainder(0.3) + x.atan() + x.sinh() + x.erf(),
    lambda x: ((x > 0) ^ (x < 1)).float() + x.isnan().float() + (x.int() << 1).float(),
    lambda x: torch.linalg.vector_norm(x, 3, 1) + (x.abs() + 0.1).pow(x).sum(1),
    lambda x: F.interpolate(x, size=(5, 7), mode="bicubic"),
    lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
    lambda x: F.conv_transpose2d(x, torch.full((4, 2, 3, 3), 0.1), stride=2),
    lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True) + F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
]


class Front(nn.Module):
    """All of `FRONT` beside each other, with layers that look up and that recur; only the head trains."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.look_up = nn.Embedding(9, 4, padding_idx=0)
        self.recurrent = nn.ModuleList([kind(8, 3, batch_first=True, bidirectional=True) for kind in (nn.GRU, nn.LSTM)])
        self.head = nn.Linear(3 * (len(FRONT) + 3), 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        outputs = [operator(x) for operator in FRONT]
        outputs.append(self.look_up((x * 2).abs().long().clamp(0, 8)))
        outputs += [layer(x.mean(1))[0] for layer in self.recurrent]
        flat = [y.flatten(1) for y in outputs]
        return self.head(torch.cat([part for y in flat for part in (y.mean(1, True), y[:, :1], y[:, -1:])], 1))  # type: ignore[no-any-return]


def test_any_operator_may_stand_in_a_frozen_front() -> None:
    torch.manual_seed(0)
    found = look(Front(), SHAPE, head="head", trainable="head", backend="ort-training")
    assert found.why() is None
    assert [kind.inconclusive for kind in found.kinds] == [None]
    assert found.trainable == sum(parameter.numel() for parameter in nn.Linear(3 * (len(FRONT) + 3), 3).parameters())


class Trained(nn.Module):
    """Powers, norms and products that torch writes with operators that have no gradient, behind a convolution that trains."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.power = nn.Parameter(torch.tensor([3.0]))  # of generalised mean pooling
        self.head = nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        mean = F.avg_pool2d(x.clamp(min=1e-6).pow(self.power), 8).pow(1 / self.power)
        zero = torch.cat([x[:, :, :2, :3], torch.zeros_like(x[:, :, :2, :1])], 3)
        parts = [
            mean,
            F.lp_pool2d(x, 2, 2).mean((2, 3)),
            F.lp_pool1d(x.flatten(2), 2, 3).mean(2),
            (x * x.sign()).mean((2, 3)),
            torch.linalg.vector_norm(x, 3, (2, 3)),
            zero.prod(2).prod(2) + x[:, :, :2, :2].prod(3, keepdim=True).sum((2, 3)),
        ]
        return self.head(torch.cat([part.flatten(1) for part in parts], 1))  # type: ignore[no-any-return]


def test_signs_products_and_powers_train_as_in_torch() -> None:
    torch.manual_seed(0)
    found = look(Trained(), SHAPE, head="head", backend="ort-training")
    assert found.why() is None
    assert [kind.inconclusive for kind in found.kinds] == [None]
    assert {"Sign", "ReduceProd", "Pow"} <= {finding.op for finding in found.findings}


class Exponent(Trained):
    def forward(self, x: Tensor) -> Tensor:
        x = (self.conv(x).abs() ** self.power).mean((2, 3))
        return self.head(x.repeat(1, 6))  # type: ignore[no-any-return]


def test_an_exponent_that_trains_wants_a_base_above_0() -> None:
    said = look(Exponent(), SHAPE, head="head", backend="ort-training").why()
    assert said is not None
    assert said.startswith("the network itself: Pow (Exponent, test_front.py:")
    assert said.endswith("keep its base above 0 by x.clamp(min=1e-6), or freeze its exponent")


class Projected(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.head = nn.LSTM(8, 4, proj_size=3, batch_first=True), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.recurrent(x)[0].mean(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("trains", [True, False])
def test_a_projected_lstm_is_refused_by_name(trains: bool) -> None:
    network = Projected()
    network.recurrent.requires_grad_(trains)
    with pytest.raises(UserError, match=r"^recurrent: LSTM with proj_size=3 has no ONNX operator.*a Linear behind it"):
        require_exportable(network, torch.zeros(2, 5, 8))


class Looping(nn.Module):
    """An EmbeddingBag, which torch's exporter writes as a Loop, in a front of which nothing trains."""

    def __init__(self) -> None:
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.bag((x.flatten(1) > 0).long()))  # type: ignore[no-any-return]


def test_a_loop_is_refused_also_in_a_frozen_front_as_devices_refuse_it() -> None:
    found = look(Looping(), SHAPE, head="head", trainable="head", backend="ort-training")
    said = found.why()
    assert said is not None
    assert said.startswith("bag: Loop (EmbeddingBag, test_front.py:")
    assert "Loop may never end, so devices refuse every graph that has one" in said
    assert said.endswith("write an nn.Embedding and a mean or a sum over its places")
    assert not found.trains


def test_the_operators_that_a_device_refuses_are_those_that_an_export_refuses() -> None:
    from mentee_device.bundle import graphs

    assert set(WITHOUT_END) == set(graphs.WITHOUT_END)


@pytest.mark.parametrize("kind", WITHOUT_END)
def test_what_a_graph_inside_a_node_reads_is_an_input_of_that_node(kind: str) -> None:
    inner = helper.make_graph(
        [helper.make_node("Mul", ["own", "weight"], ["made"]), helper.make_node("Add", ["made", "bias"], ["out"])],
        "inner",
        [helper.make_tensor_value_info("own", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [2])],
    )
    around = helper.make_graph([helper.make_node("If", ["yes"], ["both"], then_branch=inner)], "around", [], [])
    assert read_by(helper.make_node(kind, ["x"], ["y"], body=inner)) == ["x", "weight", "bias"]
    assert read_by(helper.make_node(kind, ["x"], ["y"], body=around)) == ["x", "yes", "weight", "bias"]


class Written(nn.Module):
    """Operators that torch's exporter gets wrong or lacks, or that the runtime dies of, behind a layer that trains."""

    def __init__(self, written: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.head, self.written = nn.Linear(4, 4), nn.Linear(24, 3), written

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.written(self.first(x)).flatten(1))  # type: ignore[no-any-return]


def with_zeros(x: Tensor) -> Tensor:
    zeros = torch.zeros_like(x[:, :1])
    first, second = torch.cat([x, zeros], 1), torch.cat([x.tanh(), torch.zeros_like(x[:, :1]), zeros], 1)
    return first[:, :6] + second[:, 2:] * 2


WRITTEN: list[Callable[[Tensor], Tensor]] = [
    lambda x: x * torch.hamming_window(4) + x.tanh() * torch.hamming_window(4, False, 0.5, 0.3),
    lambda x: x * torch.blackman_window(4, False) + x.tanh() * torch.kaiser_window(4, True, 9.0),
    lambda x: F.scaled_dot_product_attention(x, x.tanh(), x) + F.scaled_dot_product_attention(x, x, x, is_causal=True),
    lambda x: F.scaled_dot_product_attention(x, x, x, torch.ones(6, 6).tril().bool()),
    lambda x: F.scaled_dot_product_attention(x, x, x, torch.ones(x.shape[0], 6, 6).tril(), scale=0.3),
    lambda x: x.flip((1, 2)).cumsum(1) + x.rot90(2, (1, 2)),
    with_zeros,
    lambda x: torch.hstack([x[:, :2].squeeze(1), x[:, 2:].tanh()]).unsqueeze(2).squeeze((1, 2)),
    lambda x: x.squeeze(2).tanh() + x.squeeze(-1).squeeze(0),
]


@pytest.mark.parametrize("written", WRITTEN)
def test_what_the_exporter_or_the_runtime_gets_wrong_is_written_otherwise(written: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    found = look(Written(written), (6, 4), head="head", backend="ort-training")
    assert found.why() is None
    assert [kind.inconclusive for kind in found.kinds] == [None]
