"""Where rounding decides which way a ReLU goes, the proof takes the gradient of either side, and of nothing else."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export.graph.ports import GraphInputs
from export.graph.training_graph import TrainingGraph
from export.parity.backends.reference import SHAKES, Reference
from export.parity.check import loss_scale, off
from export.parity.gradient_check import FAINT, FEW, NONE, GradientCheck
from export.parity.verdict import GRADIENT_BOUND
from mentor_mentee.objective.probes import ProbedMentee

Gradients = dict[str, Tensor]


def one(value: float) -> Gradients:
    return {"w": torch.tensor([1.0, value], dtype=torch.float64)}


class Asked:
    """Gives `values`, and counts."""

    def __init__(self, *values: float) -> None:
        self.values, self.count = values, 0

    def __iter__(self) -> Iterator[Gradients]:
        for value in self.values:
            self.count += 1
            yield one(value)


def judged(seen: float, rough: float, shaken: Asked) -> GradientCheck:
    check = GradientCheck(["w"])
    check.judge(one(seen), one(1.0), one(rough), shaken)
    return check


def test_a_gradient_of_torchs_at_weights_that_float32_hardly_tells_apart_is_proved_and_widens_nothing() -> None:
    shaken = Asked(1.0, 1.5, 1.0)
    check = judged(1.5, 1.0, shaken)
    assert check.nearer == {"w": 0.0}
    assert check.torch_float32 == {"w": 0.0}
    assert check.float64["w"] == pytest.approx(0.5 / 2**0.5)
    assert shaken.count == 2


def test_what_is_within_bounds_asks_for_no_other_weights() -> None:
    shaken = Asked(1.0)
    judged(1.0 + GRADIENT_BOUND / 2, 1.0, shaken)
    assert shaken.count == 0


def test_what_no_rounding_explains_is_out_of_bounds_and_is_asked_about_once() -> None:
    shaken = Asked(*[1.0 + 1e-6] * SHAKES)
    check = judged(1.01, 1.0, shaken)
    assert check.nearer["w"] > 100 * GRADIENT_BOUND
    assert max(check.torch_float32.values()) < GRADIENT_BOUND
    assert shaken.count == FEW
    check.judge(one(1.01), one(1.0), one(1.0), shaken)
    assert shaken.count == FEW


def test_where_torch_differs_as_much_from_itself_but_never_agrees_that_is_said() -> None:
    check = judged(1.5, 1.0, Asked(*[1.6] * SHAKES))
    assert check.nearer["w"] == pytest.approx(0.1 / 2**0.5, rel=0.3)
    assert check.torch_float32["w"] == pytest.approx(0.6 / 2**0.5)


class Kink(nn.Module):
    """relu(x · (w₀ + w₁ + w₂)), the sum within rounding of 0; the BatchNorm has statistics that a forward changes."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([-0.1, -0.2, 0.3]))
        self.norm, self.head = nn.BatchNorm1d(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = x.flatten(1)
        return self.head(self.norm(y) + torch.relu((self.w[0] + self.w[1] + self.w[2]) * y.abs()))  # type: ignore[no-any-return]


def feed() -> GraphInputs[Tensor]:
    random = torch.Generator().manual_seed(0)
    knobs = {
        name: torch.tensor([value]) for name, value in zip(("alpha", "beta", "gamma"), (2.0, 3.0, 1.5), strict=True)
    }
    return GraphInputs(
        input=torch.randn(8, 1, 2, 2, generator=random),
        labels=torch.arange(8) % 3,
        labelled=torch.ones(8),
        mentor_logits=torch.randn(8, 3, generator=random),
        mentor={},
        supervised=torch.ones(8),
        **knobs,
        temperature=torch.tensor([4.0]),
    )


def test_shaken_weights_go_either_way_and_leave_the_reference_as_it_was() -> None:
    torch.manual_seed(0)
    reference = Reference(TrainingGraph(ProbedMentee(Kink(), (), "head").eval()))
    before = {name: value.clone() for name, value in reference.graph.state_dict().items()}
    sizes = [float(gradients["w"].norm()) for gradients in reference.shaken([feed()])]
    assert len(sizes) == SHAKES
    assert min(sizes) == 0 < max(sizes)
    assert all(torch.equal(before[name], value) for name, value in reference.graph.state_dict().items())
    assert all(parameter.grad is None for parameter in reference.parameters.values())


@pytest.mark.parametrize(("softmax", "power"), [("kl", 2), ("dkd", 2), ("prob_rmse", 0)])
def test_the_loss_is_judged_by_the_sum_of_what_its_terms_may_differ_by(softmax: str, power: int) -> None:
    names = ("loss", "ce", "rmse_a", "rmse_b", softmax, "logits", "embedding")
    values = dict(zip(names, map(torch.tensor, (5.0, 4.0, 0.0, 0.5, 0.2, 1.0, 1.0)), strict=True))
    scale = 2.0 * 4.0 + 3.0 * 1.0 + 1.5 * 4.0**power * 1.0
    assert loss_scale(values, feed()) == pytest.approx(scale)
    seen = [np.asarray(value) + np.float32(0.01) for value in values.values()]
    found = off(seen, values, feed())
    assert found["loss"] == pytest.approx(0.01 / scale, rel=1e-3)
    assert found["ce"] == pytest.approx(0.01 / 4, rel=1e-3)
    assert found["logits"] == pytest.approx(0.01, rel=1e-3)
    alone = {**values, **{name: torch.tensor(0.0) for name in names[2:5]}}
    assert loss_scale(alone, feed()) == pytest.approx(8.0)  # where no term but CE counts, no other weight does


@pytest.mark.parametrize(
    ("seen", "exact", "said"),
    [
        (1e-9, 1e-9 * (1 + 1e-5), None),
        (1e-9, 1.01e-9, FAINT),
        (1e-9, 0.0, NONE),
        (0.0, 0.0, NONE),
        (1e-5 * (1 + 1e-3), 1e-5, None),
    ],
)
def test_a_gradient_far_below_the_largest_is_proved_where_it_agrees_by_itself(
    seen: float, exact: float, said: str | None
) -> None:
    given = [{"w": torch.tensor([value]).double(), "large": torch.ones(4).double()} for value in (seen, exact, exact)]
    check = GradientCheck(["w", "large"])
    check.judge(*given)
    assert check.nearer["w"] <= GRADIENT_BOUND
    assert check.unproved == ({} if said is None else {"w": said})
