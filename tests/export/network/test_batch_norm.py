"""The three ways of BatchNorm against torch's own, in eval and in training mode."""

import copy

import pytest
import torch
from torch import nn

from export.network.batch_norm import learning_mode, running_statistics, smallest_map, with_batch_norm
from export.network.dropout import LearningDropout, drop_nothing, keep_dropout
from export.preflight import look
from mentor_mentee.errors import UserError
from tests.export.network.test_fold import lived_in

IMAGE = (3, 6, 6)


def network() -> nn.Sequential:
    norm = nn.BatchNorm2d(4, momentum=0.3)
    plain = nn.BatchNorm1d(5, affine=False, eps=1e-3)
    body = [
        nn.Conv2d(3, 4, 3, bias=False),
        norm,
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
        plain,
    ]
    made = nn.Sequential(*body)
    lived_in(made)
    return made


def samples(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, *IMAGE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("way", ["frozen", "affine_only", "batch"])
def test_every_way_puts_out_the_logits_of_eval_mode_and_leaves_the_network_alone(way: str) -> None:
    before = network()
    state = {name: value.clone() for name, value in before.state_dict().items()}
    made = with_batch_norm(before, way)
    with torch.no_grad():
        torch.testing.assert_close(made(samples(5)), before(samples(5)), rtol=1e-5, atol=1e-5)
    assert all(torch.equal(state[name], value) for name, value in before.state_dict().items())


def test_held_statistics_give_the_gradients_of_torchs_eval_mode_also_far_from_0() -> None:
    before = network()
    before[1].running_mean += 300  # type: ignore[operator]
    made = with_batch_norm(before, "affine_only").train()
    x = samples(5)
    expected, seen = copy.deepcopy(before).double(), made
    expected(x.double()).square().sum().backward()
    seen(x).square().sum().backward()
    for name in ("0.weight", "1.weight", "1.bias", "5.weight"):
        gradient = expected.get_parameter(name).grad
        assert gradient is not None
        torch.testing.assert_close(seen.get_parameter(name).grad.double(), gradient, rtol=1e-5, atol=1e-4)  # type: ignore[union-attr]
    assert not with_batch_norm(before, "affine_only").get_parameter("6.weight").requires_grad  # it had none


def test_the_batchs_statistics_are_torchs_and_running_ones_take_in_the_biased_variance() -> None:
    before = network()
    made = with_batch_norm(before, "batch")
    before.train()
    learning_mode(made)
    expected = dict(before.named_buffers())
    mean, var = expected["1.running_mean"].clone(), expected["1.running_var"].clone()
    for seed in range(3):
        x = samples(7, seed)
        torch.testing.assert_close(made(x), before(x), rtol=1e-5, atol=1e-5)
        with torch.no_grad():
            values = before[0](x).movedim(1, 0).flatten(1)
        mean = 0.7 * mean + 0.3 * values.mean(1)
        var = 0.7 * var + 0.3 * (values - values.mean(1, keepdim=True)).square().mean(1)
    seen = dict(made.named_buffers())
    torch.testing.assert_close(seen["1.running_mean"], mean)
    torch.testing.assert_close(seen["1.running_mean"], expected["1.running_mean"])
    torch.testing.assert_close(seen["1.running_var"], var)
    assert not torch.allclose(seen["1.running_var"], expected["1.running_var"], rtol=1e-4)  # torch's: n / (n − 1)
    assert running_statistics(made) == ["1.running_mean", "1.running_var", "6.running_mean", "6.running_var"]
    assert [name for name, parameter in made.named_parameters() if not parameter.requires_grad] == [
        "6.weight",
        "6.bias",
    ]


def test_the_smallest_map_is_what_one_sample_brings() -> None:
    example = samples(2)
    assert smallest_map(with_batch_norm(network(), "batch"), example) == 1  # after the linear layer
    assert smallest_map(with_batch_norm(network()[:2], "batch"), example) == 16
    assert smallest_map(with_batch_norm(network(), "affine_only"), example) is None


def test_what_the_runtime_cannot_do_and_what_is_not_there_are_errors() -> None:
    with pytest.raises(UserError, match=r"batch_norm=batch: a BatchNorm has momentum=None"):
        with_batch_norm(nn.Sequential(nn.BatchNorm2d(3, momentum=None)), "batch")
    for way in ("batch", "affine_only"):
        with pytest.raises(UserError, match=f"batch_norm={way}, but the mentee has no BatchNorm"):
            with_batch_norm(nn.Sequential(nn.Linear(2, 2)), way)
    with_batch_norm(nn.Sequential(nn.Linear(2, 2)), "frozen")


def test_dropout_that_cannot_be_kept_is_an_error() -> None:
    for module, said in (
        (nn.Dropout2d(0.1), "'1' is a Dropout2d, whose dropout cannot be exported"),
        (nn.MultiheadAttention(4, 2, dropout=0.1), "'1' is a MultiheadAttention"),
        (nn.Dropout(1.0), r"'1' has p=1\.0, which drops everything"),
    ):
        with pytest.raises(UserError, match=said):
            keep_dropout(nn.Sequential(nn.Dropout(0.5), module))
    with pytest.raises(UserError, match=r"no nn\.Dropout with p above 0"):
        keep_dropout(nn.Sequential(nn.Dropout(0.0)))


def test_kept_dropout_is_off_in_eval_mode_and_can_be_silenced() -> None:
    made = nn.Sequential(nn.Dropout(0.5))
    keep_dropout(made)
    x = torch.ones(100)
    assert isinstance(made[0], LearningDropout)
    assert torch.equal(made.eval()(x), x)
    assert 20 < int((made.train()(x) == 0).sum()) < 80
    drop_nothing(made)
    assert torch.equal(made(x), x)


class NormThenReLU(nn.BatchNorm2d):
    """As timm has it: a BatchNorm that ends in an activation."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(super().forward(x))


def with_own_forward() -> nn.Sequential:
    made = nn.Sequential(nn.Conv2d(3, 4, 3), NormThenReLU(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    lived_in(made)
    return made


@pytest.mark.parametrize("trainable", ["all", "head"])
def test_a_batch_norm_with_a_forward_of_its_own_is_held_in_the_graph_as_it_is(trainable: str) -> None:
    before = with_own_forward()
    made = with_batch_norm(before, "frozen")
    torch.testing.assert_close(made(samples(5)), before(samples(5)))
    found = look(before, IMAGE, trainable=trainable, backend="ort-training")
    assert found.trains, found.why()
    assert [finding.op for finding in found.findings] == ["BatchNormalization"]


@pytest.mark.parametrize("way", ["affine_only", "batch"])
def test_a_batch_norm_with_a_forward_of_its_own_can_only_be_held(way: str) -> None:
    with pytest.raises(UserError, match=rf"batch_norm={way}, but '1' \(NormThenReLU\) .* leave it at frozen"):
        with_batch_norm(with_own_forward(), way)


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, 4, 3), nn.Linear(4, 3)
        self.norm = nn.InstanceNorm2d(4, affine=True, track_running_stats=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.conv(x)).tanh().mean((2, 3)))  # type: ignore[no-any-return]


def test_an_instance_norm_with_running_statistics_is_held_and_trained() -> None:
    torch.manual_seed(0)
    network, x = Normed(), torch.randn(16, 2, 8, 8)
    for _ in range(5):
        network(x)  # its statistics move
    expected = network.eval()(x)
    found = look(network, (2, 8, 8), head="head", backend="ort-training")
    assert found.why() is None
    assert found.notes == ("held, the running statistics of InstanceNorm: norm",)
    assert {"norm.weight", "norm.bias"} <= set(found.traced.trainable)
    torch.testing.assert_close(found.traced.graph.student.mentee(x), expected)
