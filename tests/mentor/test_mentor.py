"""The mentor only answers: eval mode whatever is called on it, no gradient, no trace in the mentee's state.

Axes: B samples, C channels, H W space, K classes.
"""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.schedules import constant
from distill.schema import FitConfig
from distill.training.module import Distillation
from mentee.networks import PlainCNN
from mentor.mentor import Mentor
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError
from mentor_mentee.objective.probes import Adapter, Probe, ProbedMentee, find_probes

VIEW = View((1, 8, 8), (0.3,), (0.4,))


class Moody(nn.Module):
    """Answers otherwise in training mode, and its BatchNorm would learn from what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))  # type: ignore[no-any-return]


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    network = Moody()
    nn.init.uniform_(network.features[1].running_mean)
    return network


@pytest.fixture
def image() -> Tensor:
    return torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


PROBE = Probe("late", "features", "features.0", Adapter((2, 8, 8), (4, 8, 8), (2, 8, 8)))


def test_answers_are_those_of_the_frozen_network_on_its_own_view(network: nn.Module, image: Tensor) -> None:
    answers = Mentor(network, VIEW, [PROBE]).answer(image)
    x = (image.float() / 255 - 0.3) / 0.4
    conv, bn = network.features[0], network.features[1]
    scale_C11 = (bn.weight / (bn.running_var + bn.eps).sqrt()).view(-1, 1, 1)
    maps = F.conv2d(x, conv.weight, conv.bias, padding=1)
    maps = ((maps - bn.running_mean.view(-1, 1, 1)) * scale_C11 + bn.bias.view(-1, 1, 1)).clamp(min=0)
    torch.testing.assert_close(answers.activations["late"], maps[:, :2], rtol=1e-4, atol=1e-5)
    expected_BK = maps.mean((2, 3)) @ network.head.weight.T + network.head.bias
    torch.testing.assert_close(answers.logits, expected_BK, rtol=1e-4, atol=1e-5)


def test_answers_stay_the_same_after_train_was_called_on_the_network(network: nn.Module, image: Tensor) -> None:
    mentor = Mentor(network, VIEW, [PROBE])
    state = copy.deepcopy(network.state_dict())
    first = mentor.answer(image)
    for _ in range(3):
        network.train()
        again = mentor.answer(image)
        assert torch.equal(again.logits, first.logits)
        assert torch.equal(again.activations["late"], first.activations["late"])
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())
    network.train()
    assert not torch.equal(network(VIEW(image)), first.logits)  # so the mode does matter to this network


def test_answers_can_stand_in_a_graph_that_is_differentiated(network: nn.Module, image: Tensor) -> None:
    answers = Mentor(network, VIEW, [PROBE]).answer(image)
    for answer in (answers.logits, answers.activations["late"]):
        assert not answer.is_inference()
        assert not answer.requires_grad
        scale = torch.ones_like(answer, requires_grad=True)
        (scale * answer).sum().backward()  # saves the answer for backward: refused for an inference tensor
        torch.testing.assert_close(scale.grad, answer)


def test_no_gradient_reaches_the_mentor(network: nn.Module, image: Tensor) -> None:
    answers = Mentor(network, VIEW, [PROBE]).answer(image)
    mentee = torch.zeros(6, 3, requires_grad=True)
    (mentee - answers.logits).square().sum().backward()
    assert mentee.grad.abs().max() > 0
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in network.parameters())


def test_a_view_made_inside_the_mentor_can_be_used_by_a_training_mentee(image: Tensor) -> None:
    view = View((1, 8, 8), (0.31,), (0.41,))  # used by the mentor first, under inference mode
    Mentor(Moody(), view).answer(image)
    weight = torch.ones(1, 1, 8, 8, requires_grad=True)
    (view(image) * weight).sum().backward()
    assert weight.grad is not None


def test_the_mentor_is_not_in_the_module_that_is_trained(network: nn.Module, image: Tensor) -> None:
    torch.manual_seed(1)
    mentee = PlainCNN(1, 3, widths=(2,))
    x = VIEW(image)
    probes = find_probes({"late": ("features.1", "features.0")}, network, x, mentee, x)
    module = Distillation(
        ProbedMentee(mentee, probes, "head"), VIEW, constant(1, 1, 1, 4), FitConfig(), 0, Mentor(network, VIEW, probes)
    )
    assert set(module.state_dict()) == {f"student.mentee.{key}" for key in mentee.state_dict()}
    assert {id(p) for p in module.parameters()} == {id(p) for p in mentee.parameters()}
    assert not any(child is network for child in module.modules())
    network.eval()
    module.train()
    assert not any(child.training for child in network.modules())


class Deep(nn.Module):
    """Three layers, of which the second may run twice."""

    def __init__(self, twice: bool = False) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(width, 4, 3, padding=1) for width in (1, 4, 4))
        self.head, self.twice = nn.Linear(4, 3), twice

    def forward(self, x: Tensor) -> Tensor:
        try:
            maps = self.second(self.first(x))
            maps = self.second(maps) if self.twice else maps
            return self.head(self.third(maps).mean((2, 3)))  # type: ignore[no-any-return]
        except Exception:  # as some networks do, around what an old version lacks
            return x.new_zeros(len(x), 3)


def test_without_logits_nothing_runs_after_the_last_probe_and_the_layers_are_the_same(image: Tensor) -> None:
    torch.manual_seed(0)
    network = Deep()
    late = Probe("late", "second", "features.0", Adapter((2, 8, 8), (4, 8, 8), (2, 8, 8)))
    early = Probe("early", "first", "features.0", Adapter((2, 8, 8), (4, 8, 8), (2, 8, 8)))
    ran: list[str] = []
    for name in ("first", "second", "third", "head"):
        getattr(network, name).register_forward_hook(lambda *_, name=name: ran.append(name))
    whole, alone = Mentor(network, VIEW, [late, early]), Mentor(network, VIEW, [late, early], logits=False)
    assert alone.fingerprint() == whole.fingerprint()
    expected = whole.answer(image)
    alone.answer(image)  # once whole: a layer that runs twice is seen
    ran.clear()
    found = alone.answer(image)
    assert ran == ["first", "second"]
    assert found.logits.shape == (6, 0)
    assert all(torch.equal(found.activations[name], expected.activations[name]) for name in ("early", "late"))
    assert torch.equal(whole.answer(image).logits, expected.logits)
    with pytest.raises(UserError, match=r"layer 'second' of Deep ran 2 times"):
        Mentor(Deep(twice=True), VIEW, [late], logits=False).answer(image)


def test_in_half_precision_the_layers_compute_in_it_and_the_answers_are_float32(
    network: nn.Module, image: Tensor
) -> None:
    seen: list[torch.dtype] = []
    network.head.register_forward_hook(lambda _module, _given, output: seen.append(output.dtype))
    half, whole = Mentor(network, VIEW, [PROBE], precision="bf16-mixed"), Mentor(network, VIEW, [PROBE])
    found, expected = half.answer(image), whole.answer(image)
    assert seen == [torch.bfloat16, torch.float32]
    assert (found.logits.dtype, found.activations["late"].dtype) == (torch.float32, torch.float32)
    assert 0 < float((found.logits - expected.logits).abs().max()) < 2**-6 * float(expected.logits.abs().max())
    assert next(network.parameters()).dtype == torch.float32
    assert half.fingerprint(probes=False) != whole.fingerprint(probes=False)  # so its cached answers are others


def test_half_weights_that_are_made_once_answer_as_autocast_does_and_the_network_stays_as_it_is(
    network: nn.Module, image: Tensor
) -> None:
    state = copy.deepcopy(network.state_dict())
    found = Mentor(network, VIEW, precision="bf16-mixed").answer(image).logits
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = network.eval()(VIEW(image).contiguous(memory_format=torch.channels_last)).float()
    assert torch.equal(found, expected)


def test_large_images_are_answered_channels_last_to_the_same_numbers() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 5, 3), nn.Flatten()
    )
    image = torch.randint(0, 256, (3, 3, 96, 80), dtype=torch.uint8)
    view = View((3, 96, 80), (0.3, 0.4, 0.5), (0.4, 0.3, 0.2))
    shape = (8, 47, 39)
    answers = Mentor(network, view, [Probe("mid", "2", "", Adapter(shape, shape, shape, "identity"))]).answer(image)
    with torch.inference_mode():
        maps, logits = network[:3](view(image)), network(view(image))
    assert answers.activations["mid"].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(answers.activations["mid"], maps, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(answers.logits, logits, rtol=1e-5, atol=1e-5)
