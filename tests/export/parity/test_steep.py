"""Functions near whose poles float32 is no better than 1e-5, torch's own included: preflight and proof agree on them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

from export.graph.artifacts import write_artifacts
from export.graph.optimizer_spec import Optimizer
from export.graph.ports import input_ports, output_ports
from export.graph.training_graph import TrainingGraph, cut_inference, export_graph, trained
from export.parity.check import measure_judged
from export.parity.feeds import Samples
from export.parity.output_check import OutputCheck
from export.parity.verdict import OUTPUT_BOUND, require_parity
from export.preflight import look
from mentor_mentee.errors import UserError
from mentor_mentee.objective.probes import ProbedMentee

SHAPE = (1, 6, 6)
Function = Callable[[Tensor], Tensor]


class Steep(nn.Module):
    """A convolution, a linear layer, `function`, a linear head."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.conv, self.middle, self.head = nn.Conv2d(1, 4, 3), nn.Linear(64, 16), nn.Linear(16, 3)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.function(self.middle(self.conv(x).flatten(1))))  # type: ignore[no-any-return]


STEEP: dict[str, Function] = {
    "tan": lambda x: (3 * x).tan(),
    "1/x": lambda x: 1 / x,
    "x to the seventh": lambda x: (3 * x) ** 7,
    "exp": lambda x: (8 * x).exp(),
    "log": lambda x: (x * x).log(),
    "a fast sine": lambda x: (100 * x).sin(),
    "a cancellation": lambda x: (x + 1000) - 1000,
    "a small norm": lambda x: x / (x.mean(1, keepdim=True)),
    "a root": lambda x: (x * x + 1e-12).rsqrt(),
}


def proved(network: nn.Module, folder: Path, seed: int, graph: nn.Module | None = None) -> dict[str, Any]:
    """The export's proof of `network`, on uniform samples; `graph` is what the graphs are made of."""
    made = [TrainingGraph(ProbedMentee(one, (), "head").eval()) for one in (network, graph or network)]
    outputs = output_ports(3, 16, ())
    forward = export_graph(made[1], input_ports(SHAPE, 3, ()), outputs)
    inference, training = folder / "inference.onnx", folder / "training"
    training.mkdir()
    onnx.save(cut_inference(forward), inference)
    write_artifacts(forward, trained(made[1]), Optimizer(), training)
    random = torch.Generator().manual_seed(seed)
    samples = Samples(torch.rand(32, *SHAPE, generator=random), 4 * torch.randn(32, 3, generator=random), {})
    return measure_judged(made[0], [training], inference, samples, outputs, Optimizer())[0]


@pytest.mark.parametrize("name", STEEP)
def test_preflight_and_proof_agree_on_a_steep_function(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Steep(STEEP[name])
    found = look(network, SHAPE, backend="ort-training")
    assert found.trains, found.why()
    require_parity(proved(network, tmp_path, seed=1))


def test_a_wrong_graph_of_a_steep_function_is_caught(tmp_path: Path) -> None:
    torch.manual_seed(0)
    right, wrong = Steep(STEEP["tan"]), Steep(STEEP["tan"])
    wrong.load_state_dict(right.state_dict())
    with torch.no_grad():
        wrong.head.weight[0, 0] += 1e-2
    with pytest.raises(UserError, match=r"output 'logits' by"):
        require_parity(proved(right, tmp_path, 1, wrong))


def test_a_bound_is_as_wide_as_torchs_own_float32_and_no_wider() -> None:
    asked = list[None]()

    def nearby(value: float) -> Callable[[], dict[str, float]]:
        return lambda: asked.append(None) or {"logits": value}  # type: ignore[func-returns-value]

    check = OutputCheck(["logits"])
    check.judge({"logits": OUTPUT_BOUND}, {"logits": 1e-7}, nearby(1.0))
    assert (check.torch_float32, asked) == ({"logits": 1e-7}, [])
    check.judge({"logits": 3e-5}, {"logits": 1e-6}, nearby(2e-5))
    assert (check.torch_float32, check.wrong, len(asked)) == ({"logits": 2e-5}, False, 1)
    check.judge({"logits": 5e-5}, {"logits": 1e-6}, nearby(2e-5))
    assert check.wrong
    check.judge({"logits": 5e-5}, {"logits": 1e-6}, nearby(1.0))
    assert len(asked) == 2  # once is enough
    assert check.torch_float32 == {"logits": 2e-5}
    check.judge({"logits": float("nan")}, {"logits": 1e-6}, nearby(1.0))
    assert check.wrong


def test_a_steep_output_that_float32_does_not_know_is_inconclusive(tmp_path: Path) -> None:
    torch.manual_seed(0)
    found = proved(Steep(lambda x: (1e4 * x).tan()), tmp_path, 1)
    require_parity(found)
    assert found["verdict"] == "inconclusive"
    assert any(name.startswith("output '") for name in found["inconclusive"])
