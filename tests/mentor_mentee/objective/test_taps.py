"""Taps against the same layers run by hand, one after the other, out of place."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import mobilenet_v2, resnet18

from mentee.networks import PlainCNN
from mentor_mentee.errors import UserError
from mentor_mentee.objective.taps import Taps, evaluating, find_head, find_layer, layer_shapes


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    return resnet18(num_classes=7).eval()


@pytest.fixture
def image() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def normalised(bn: nn.BatchNorm2d, x: Tensor) -> Tensor:
    return F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias, False, 0.0, bn.eps)


def first_block_by_hand(net: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """torchvision's ResNet up to its first block, without an in-place operation."""
    conv1 = F.conv2d(x, net.conv1.weight, stride=2, padding=3)
    bn1 = normalised(net.bn1, conv1)
    pooled = F.max_pool2d(bn1.clamp(min=0), 3, 2, 1)
    block = net.layer1[0]
    inner = normalised(block.bn1, F.conv2d(pooled, block.conv1.weight, padding=1)).clamp(min=0)
    conv2 = F.conv2d(inner, block.conv2.weight, padding=1)
    bn2 = normalised(block.bn2, conv2)
    return {
        "conv1": conv1,
        "bn1": bn1,
        "layer1.0.conv2": conv2,
        "layer1.0.bn2": bn2,
        "layer1.0": (bn2 + pooled).clamp(min=0),
    }


def test_captured_is_what_each_layer_computed_though_the_block_writes_over_it(resnet: nn.Module, image: Tensor) -> None:
    with torch.no_grad():
        by_hand = first_block_by_hand(resnet, image)
        logits, outputs, inputs = Taps(resnet, outputs=list(by_hand), inputs=["layer1.0.bn2", "fc"])(image)
        plain = resnet(image)
    for path, expected in by_hand.items():
        torch.testing.assert_close(outputs[path], expected, rtol=1e-5, atol=1e-6, msg=path)
    torch.testing.assert_close(inputs["layer1.0.bn2"], by_hand["layer1.0.conv2"], rtol=1e-5, atol=1e-6)
    assert (outputs["layer1.0.bn2"] < 0).any()  # what the += and the in-place ReLU after it would have taken away
    assert (outputs["bn1"] < 0).any()
    assert torch.equal(logits, plain)
    torch.testing.assert_close(F.linear(inputs["fc"], resnet.fc.weight, resnet.fc.bias), logits)


def test_what_a_layer_was_given_is_kept_though_the_layer_writes_over_it() -> None:
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten())
    x = torch.tensor([[-1.0, 2.0]])
    _, outputs, inputs = Taps(net, outputs=["0"], inputs=["0"])(x.clone())
    assert inputs["0"].tolist() == [[-1.0, 2.0]]
    assert outputs["0"].tolist() == [[0.0, 2.0]]


def test_a_convolution_before_an_inplace_relu_keeps_its_negative_values() -> None:
    conv = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(conv.weight, -2.0)
    _, outputs, _ = Taps(nn.Sequential(conv, nn.ReLU(inplace=True)), outputs=["0"])(torch.ones(1, 1, 1, 1))
    assert outputs["0"].item() == -2.0


class Overwrites(nn.Module):
    """Writes over its first layer's output where told."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(3, 3), nn.Linear(3, 2)
        self.when = "never"

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        writes = self.when == "always" or (self.when == "in training" and self.training)
        return self.head(y.view(-1, 3).relu_() if writes else y.relu())  # type: ignore[no-any-return]


@pytest.mark.parametrize("when", ["never", "always", "in training"])
def test_captured_is_what_a_layer_computed_in_each_of_several_forwards(when: str) -> None:
    net, x = Overwrites(), torch.randn(8, 3)
    expected = net.first(x).detach()
    assert (expected < 0).any()
    taps = Taps(net, outputs=["first"])
    for training in (False, True, True, False, True):
        net.train(training)
        net.when = when
        assert torch.equal(taps(x)[1]["first"], expected)
    for changed in ("never", "always", "never", "always"):  # a forward that does now what it did not before
        net.when = changed
        _, outputs, _ = taps(x)
        assert torch.equal(outputs["first"], expected)
        outputs["first"].sum().backward()


def test_a_map_that_nothing_writes_over_is_copied_once_at_most() -> None:
    net, x = Overwrites(), torch.randn(2, 3)
    made: list[Tensor] = []
    net.first.register_forward_hook(lambda _module, _args, output: made.append(output))
    taps = Taps(net, outputs=["first"])
    shared = [taps(x)[1]["first"] is made[-1] for _ in range(3)]
    assert shared == [False, True, True]


def test_gradients_through_a_captured_layer_equal_those_written_by_hand(resnet: nn.Module, image: Tensor) -> None:
    net = copy.deepcopy(resnet)
    _, outputs, _ = Taps(net, outputs=["layer1.0.bn2"])(image)
    outputs["layer1.0.bn2"].square().mean().backward()
    captured = net.conv1.weight.grad
    net.zero_grad()
    first_block_by_hand(net, image)["layer1.0.bn2"].square().mean().backward()
    assert captured.abs().max() > 1e-6
    torch.testing.assert_close(captured, net.conv1.weight.grad, rtol=1e-4, atol=1e-7)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.unused = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.b(self.relu(self.a(x))))


def test_a_layer_that_runs_twice_is_refused_and_so_is_one_that_does_not_run() -> None:
    net, x = Twice(), torch.randn(2, 3)
    with pytest.raises(UserError, match=r"layer 'relu' of Twice ran 2 times"):
        Taps(net, outputs=["relu"])(x)
    with pytest.raises(UserError, match=r"layer 'relu' of Twice ran 2 times"):
        Taps(net, inputs=["relu"])(x)
    with pytest.raises(UserError, match=r"layer 'unused' of Twice did not run"):
        Taps(net, outputs=["unused"])(x)
    assert set(Taps(net, outputs=["a", "b"])(x)[1]) == {"a", "b"}


def test_a_layer_that_puts_out_a_tuple_is_refused() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(3, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.gru(x)[0]  # type: ignore[no-any-return]

    with pytest.raises(UserError, match=r"layer 'gru' put out a tuple"):
        Taps(Recurrent(), outputs=["gru"])(torch.randn(2, 5, 3))


def test_an_unknown_path_names_the_one_that_was_probably_meant(resnet: nn.Module) -> None:
    with pytest.raises(UserError, match=r"no layer 'layer9' in ResNet; did you mean 'layer\d'"):
        Taps(resnet, outputs=["layer9"])
    with pytest.raises(UserError, match=r"did you mean 'layer1.0.bn2'"):
        find_layer(resnet, "layer1.0.bn_2")
    with pytest.raises(UserError, match="no layer ''"):
        find_layer(resnet, "")
    assert find_layer(resnet, "layer1.0.bn2") is resnet.layer1[0].bn2


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


class Fails(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.BatchNorm1d(3)
        self.last = nn.Linear(5, 2)  # 3 come in: raises

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x))  # type: ignore[no-any-return]


def test_the_model_is_as_it_was_after_a_run_and_after_one_that_failed(resnet: nn.Module, image: Tensor) -> None:
    for model, x in ((resnet, image), (Fails(), torch.randn(4, 3))):
        model.train()
        frozen = next(m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)).eval()
        modes = [m.training for m in model.modules()]
        state = copy.deepcopy(model.state_dict())
        last = [path for path, _ in model.named_modules()][-1]
        for call in (lambda m, p, v: layer_shapes(m, v, [p]), lambda m, _, v: find_head(m, v)):
            if isinstance(model, Fails):
                with pytest.raises(RuntimeError):
                    call(model, last, x)
            else:
                call(model, last, x)
            assert hooks(model) == 0
            assert [m.training for m in model.modules()] == modes
            assert not frozen.training
            assert state.keys() == model.state_dict().keys()
            assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
        model.eval()


def test_a_failing_forward_leaves_no_hook_of_taps_behind() -> None:
    net = Fails()
    with pytest.raises(RuntimeError):
        Taps(net, outputs=["first"], inputs=["last"])(torch.randn(4, 3))
    assert hooks(net) == 0


def test_evaluating_restores_each_modules_own_mode() -> None:
    net = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(), nn.Linear(2, 2)).train()
    net[0].eval()
    with evaluating(net):
        assert not any(m.training for m in net.modules())
    assert [m.training for m in net.modules()] == [True, False, True, True]
    with pytest.raises(ZeroDivisionError), evaluating(net):
        _ = 1 // 0
    assert [m.training for m in net.modules()] == [True, False, True, True]


def test_layer_shapes_leave_out_the_batch(resnet: nn.Module, image: Tensor) -> None:
    assert layer_shapes(resnet, image, ["conv1", "layer2", "fc", "fc"]) == {
        "conv1": (64, 16, 16),
        "layer2": (128, 4, 4),
        "fc": (7,),
    }


def test_the_head_is_the_linear_layer_that_makes_the_logits(image: Tensor) -> None:
    assert find_head(PlainCNN(3, 5), image) == "head"
    assert find_head(mobilenet_v2(num_classes=5, width_mult=0.25), image) == "classifier.1"
    square = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4), nn.Linear(4, 4))  # two layers of the logits' shape
    assert find_head(square, image) == "2"


def test_a_network_without_a_linear_head_is_told_which_setting_names_it(image: Tensor) -> None:
    convolutional = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(UserError, match=r"mentee\.head="):
        find_head(convolutional, image)
    softmaxed = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4), nn.Softmax(1))
    with pytest.raises(UserError, match=r"mentee\.head="):
        find_head(softmaxed, image)


class Cosine(nn.Linear):
    """Cosines of the embedding to a row a class."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.normalize(x), F.normalize(self.weight))


class Headless(nn.Module):
    """The head is a function in the forward, or a module: `head`."""

    def __init__(self, head: nn.Module | None) -> None:
        super().__init__()
        self.body = nn.Linear(12, 8)
        self.rows = nn.Parameter(torch.randn(5, 8))
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x.flatten(1))
        if self.head is None:
            return F.linear(F.normalize(y), F.normalize(self.rows))
        return self.head(y) + 0 * self.rows.sum()  # type: ignore[no-any-return]


class Rows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(5, 8))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.rows.t()


def test_a_head_that_is_a_function_is_told_to_become_a_module_and_then_is_found() -> None:
    x = torch.randn(2, 3, 4)
    with pytest.raises(
        UserError, match=r"no other layer does: put the head into a module of its own.*nn\.Linear works"
    ) as told:
        find_head(Headless(None), x)
    assert "<module path>" not in str(told.value)
    assert find_head(Headless(Cosine(8, 5)), x) == "head"


def test_a_head_that_is_no_linear_layer_is_offered_by_its_path() -> None:
    with pytest.raises(UserError, match=r"name the layer whose input is the embedding: mentee\.head=head$"):
        find_head(Headless(Rows()), torch.randn(2, 3, 4))
