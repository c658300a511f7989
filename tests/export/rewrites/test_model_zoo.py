"""Blocks of well-known networks, and two whole ones, get from ONNX Runtime the gradients that torch computes in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchvision import models, ops
from torchvision.models import efficientnet, mobilenetv2, mobilenetv3, shufflenetv2, squeezenet, vision_transformer

from benchmarks.bundles.trainable_models import CLASSES, judge
from mentor_mentee.objective.probes import ProbedMentee
from mentor_mentee.objective.taps import find_head

BOUND = 1e-5


class Around(nn.Module):
    """A convolution, the block, a mean over space, a linear head."""

    def __init__(self, block: nn.Module, channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.block = block
        self.head = nn.Linear(channels, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.stem(x)).mean((2, 3)))  # type: ignore[no-any-return]


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = vision_transformer.EncoderBlock(2, 8, 16, 0.0, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        tokens_BTC = self.block(x.flatten(2).transpose(1, 2))
        return tokens_BTC.transpose(1, 2).unflatten(2, x.shape[2:])  # type: ignore[no-any-return]


def mobilenet_v3_block() -> nn.Module:
    config = mobilenetv3.InvertedResidualConfig(8, 3, 16, 8, True, "HS", 1, 1, 1.0)
    return mobilenetv3.InvertedResidual(config, nn.BatchNorm2d)


def mb_conv() -> nn.Module:
    return efficientnet.MBConv(efficientnet.MBConvConfig(2, 3, 1, 8, 8, 1), 0.0, nn.BatchNorm2d)


BLOCKS: dict[str, tuple[Callable[[], nn.Module], int, set[str]]] = {
    "mobilenet_v2": (lambda: mobilenetv2.InvertedResidual(8, 8, 1, 2), 8, {"Clip"}),
    "mobilenet_v3": (mobilenet_v3_block, 8, {"HardSwish", "HardSigmoid"}),
    "shufflenet_v2": (lambda: shufflenetv2.InvertedResidual(8, 8, 1), 8, {"SequenceAt"}),
    "efficientnet": (mb_conv, 8, set()),
    "squeezenet": (lambda: squeezenet.Fire(8, 4, 4, 4), 8, set()),
    "resnet": (lambda: models.resnet.BasicBlock(8, 8), 8, set()),
    "squeeze_excitation": (lambda: ops.SqueezeExcitation(8, 2), 8, set()),
    "vit": (Tokens, 8, {"LayerNormalization"}),
}


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_block_of_each_kind_trains_as_in_torch(kind: str) -> None:
    make, channels, rewritten = BLOCKS[kind]
    torch.manual_seed(0)
    judged = judge(Around(make(), channels), (3, 8, 8))
    assert {finding.op for finding in judged.findings} == rewritten
    assert len(judged.gradients) > 4
    assert max(judged.gradients.values()) < BOUND


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "squeezenet1_1"])
def test_a_whole_network_trains_as_in_torch(name: str) -> None:
    torch.manual_seed(0)
    judged = judge(getattr(models, name)(num_classes=CLASSES), (3, 32, 32), batch=2)
    assert max(judged.gradients.values()) < BOUND


def test_a_head_that_is_a_convolution_is_given_a_map_whose_mean_is_the_embedding() -> None:
    torch.manual_seed(0)
    network = models.squeezenet1_1(num_classes=CLASSES).eval()
    x = torch.randn(2, 3, 64, 64)
    head = find_head(network, x)
    assert head == "classifier.1"
    with torch.no_grad():
        outputs = ProbedMentee(network, (), head).eval()(x)
        expected = network.features(x).mean((2, 3))
    assert outputs.embedding.shape == (2, 512)
    torch.testing.assert_close(outputs.embedding, expected)
