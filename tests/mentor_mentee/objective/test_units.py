"""The unit of a probe: computed again in numpy, independent of scale, and refused where there is nothing to learn."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mentor_mentee.errors import UserError
from mentor_mentee.objective import probe_metrics
from mentor_mentee.objective.loss import mentee_loss
from mentor_mentee.objective.loss_spec import PROBE_METRICS, LossSpec
from mentor_mentee.objective.probes import Probe, ProbedMentee, find_probes, measure_probes
from mentor_mentee.objective.units import in_units


class Net(nn.Module):
    """A mentor whose one layer can be made louder, constant or broken."""

    def __init__(self, of_layer: Callable[[Tensor], Tensor] = lambda map_BCHW: map_BCHW) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.tap, self.head = nn.Conv2d(1, 5, 3, padding=1), Tap(of_layer), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.tap(self.conv(x).relu()).mean((2, 3)))
        return logits


class Tap(nn.Module):
    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(x)


class Mentee(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.conv(x).mean((2, 3)))
        return logits


IMAGES = torch.randn(24, 1, 6, 6, generator=torch.Generator().manual_seed(2))


def probe_of(mentor: nn.Module, metric: str = "rmse", normalise: bool = False, adapter: str = "auto") -> Probe:
    pair = {"mentor": "tap", "mentee": "conv", "normalise": normalise, "adapter": adapter}
    probes = find_probes({"p": pair}, mentor, IMAGES[:2], Mentee(), IMAGES[:2], metric)
    return in_units(measure_probes(probes, mentor, [IMAGES]), mentor, [IMAGES], metric)[0]


def test_the_unit_of_rmse_is_the_pooled_standard_deviation_of_the_mentors_channels() -> None:
    mentor = Net()
    seen_BCHW = mentor.conv(IMAGES).relu().detach().numpy()[:, :4]  # the mentee has four channels
    unit = np.sqrt(np.mean([seen_BCHW[:, c].var() for c in range(4)]))
    assert 1 / probe_of(mentor).weight == pytest.approx(float(unit), rel=1e-3)


@pytest.mark.parametrize("metric", PROBE_METRICS)
def test_a_mentee_that_puts_out_the_mean_is_at_distance_1_under_every_metric(metric: str) -> None:
    mentor = Net()
    probe = probe_of(mentor, metric)
    theirs = probe.adapter.from_mentor(mentor.conv(IMAGES).relu().detach())
    over = (0, 2, 3)
    mean = theirs.mean(over, keepdim=True).expand_as(theirs)
    distance = getattr(probe_metrics, metric)(mean, theirs, torch.ones(len(theirs)))
    assert probe.weight * float(distance) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("factor", [0.03, 700.0])
@pytest.mark.parametrize("normalise", [False, True])
def test_the_weighted_loss_does_not_depend_on_how_loud_the_mentor_is(factor: float, normalise: bool) -> None:
    """Both sides times one factor: the loss and, at the same relative error, the pull of the layer are the same."""
    losses = []
    for scale in (1.0, factor):
        mentor = Net(lambda map_BCHW, scale=scale: scale * map_BCHW)  # type: ignore[misc]
        probe = probe_of(mentor, normalise=normalise)
        theirs = probe.adapter.from_mentor(mentor.tap(mentor.conv(IMAGES).relu()).detach())
        student = ProbedMentee(Mentee(), [probe], None)
        student.mentee.conv.weight.data *= scale
        student.mentee.conv.bias.data *= scale
        outputs = student(IMAGES)
        zero, one = torch.zeros(1), torch.ones(1)
        terms = mentee_loss(
            outputs.logits,
            outputs.activations,
            labels_B=torch.zeros(len(IMAGES), dtype=torch.int64),
            labelled_B=torch.zeros(len(IMAGES)),
            mentor_logits_BK=outputs.logits,
            mentor_activations={"p": theirs},
            supervised_B=torch.ones(len(IMAGES)),
            alpha=zero,
            beta=one,
            gamma=zero,
            temperature=one,
            spec=LossSpec(),
            weights=student.weights(),
        )
        losses.append(float(terms.loss.detach()))
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)
    assert losses[0] > 0.5


def test_the_unit_is_no_matter_of_batches() -> None:
    mentor = Net()
    probes = [probe_of(mentor)]
    parted = in_units(probes, mentor, [IMAGES[:12], IMAGES[12:]], "rmse")[0].weight
    assert parted == pytest.approx(probes[0].weight, rel=0.05)


@pytest.mark.parametrize("change", [lambda x: 0 * x, lambda x: 0 * x + 3.7], ids=["zeros", "a constant"])
@pytest.mark.parametrize("metric", PROBE_METRICS)
def test_a_layer_that_puts_out_the_same_for_every_image_is_refused(
    change: Callable[[Tensor], Tensor], metric: str
) -> None:
    with pytest.raises(
        UserError, match=r"probe 'p': the mentor's layer 'tap' puts out the same for every image, .*probes=none"
    ):
        probe_of(Net(change), metric)


@pytest.mark.parametrize("adapter", ["slice", "regressor"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_layer_of_nan_is_refused(value: float, adapter: str) -> None:
    with pytest.raises(
        UserError, match=r"probe 'p': the mentor's layer 'tap' puts out NaN or infinity .* or pair another"
    ):
        probe_of(Net(lambda x: x + value), adapter=adapter)
