"""probes=auto: the stage ends of known architectures, by name, and how two nets' stages are matched."""

from collections import OrderedDict

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vgg import cfgs, make_layers
from torchvision.models.vision_transformer import VisionTransformer

from mentee.networks import PlainCNN, ResidualCNN
from mentor.networks import ResidualNet
from mentor_mentee.errors import UserError
from mentor_mentee.objective.probes import find_probes
from mentor_mentee.pairing.stages import match_stages, stages, steps


def vgg11() -> nn.Module:
    """Without its classifier of 120 million weights."""
    features = make_layers(cfgs["A"])
    return nn.Sequential(
        OrderedDict(features=features, pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), head=nn.Linear(512, 4))
    )


def paths(model: nn.Module, example: Tensor) -> list[str]:
    return [stage.path for stage in stages(model, example)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # block ends as the architectures' papers and source draw them; in-place ReLU, so not the BatchNorm before it
        ("resnet18", ["relu", "layer1", "layer2", "layer3", "layer4"]),
        ("vgg11", ["features.1", "features.4", "features.9", "features.14", "features.19", "features.20"]),
        # the expansion convolution inside features.2 has features.1's resolution; it is no end of a block
        ("mobilenet_v2", ["features.1", "features.3", "features.6", "features.13", "features.18"]),
        (
            "densenet121",
            [*(f"features.{end}" for end in ("relu0", "denseblock1", "denseblock2", "denseblock3")), "features.norm5"],
        ),
    ],
)
def test_stage_ends_of_torchvision_nets(name: str, expected: list[str]) -> None:
    net = vgg11() if name == "vgg11" else getattr(torchvision.models, name)(num_classes=4)
    assert paths(net, torch.randn(1, 3, 64, 64)) == expected


def test_every_stage_halves_the_one_before_and_reports_what_the_layer_puts_out() -> None:
    net = torchvision.models.resnet18(num_classes=4)
    found = stages(net, torch.randn(2, 3, 64, 64))
    assert [stage.shape for stage in found] == [(64, 32, 32), (64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)]
    assert [stage.shrunk for stage in found] == [2, 4, 8, 16, 32]
    assert [stage.depth for stage in found] == sorted(stage.depth for stage in found)


def test_a_backbone_that_is_no_sequential_is_looked_into() -> None:
    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 2, 3, 2, 1), nn.Conv2d(2, 3, 3, 2, 1)
            self.third = nn.Conv2d(3, 4, 3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            third: Tensor = self.third(self.second(self.first(x)))
            return third

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head = Backbone(), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.head(self.backbone(x).mean((2, 3)))
            return logits

    assert paths(Net(), torch.randn(1, 1, 32, 32)) == ["backbone.first", "backbone.second", "backbone.third"]


def test_a_layer_that_runs_twice_is_no_stage_end_and_the_model_stays_as_it_was() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu, self.head = nn.Conv2d(1, 1, 3, padding=1), nn.ReLU(), nn.Linear(64, 2)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.head(self.relu(self.relu(self.conv(x))).flatten(1))
            return logits

    net = Shared().train()
    assert paths(net, torch.randn(1, 1, 8, 8)) == ["conv"]
    assert net.training
    assert not any(module._forward_hooks for module in net.modules())


def test_a_mentor_of_fewer_stages_teaches_block_by_block_the_last_with_the_last() -> None:
    x = torch.randn(
        2, 1, 8, 8
    )  # the mentor's stages are of 8 and 4 pixels, two blocks each, the mentee's of 8, 4 and 2
    assert pair_paths(ResidualNet(1, 10, blocks=2), PlainCNN(1, 10), x) == [
        ("stages.0.0", "features.0"),
        ("stages.1.0", "features.1"),
        ("stages.1.1", "features.2"),
    ]


def test_families_pair_by_how_far_the_input_has_shrunk_and_every_pair_gets_an_adapter() -> None:
    mentor, mentee = vgg11(), torchvision.models.mobilenet_v2(num_classes=4)
    big, small = torch.randn(2, 3, 64, 64), torch.randn(2, 3, 32, 32)
    matches = match_stages(mentor, big, mentee, small)
    assert [(match.name, match.mentor.shrunk, match.mentee.shrunk) for match in matches] == [
        (f"stage{i}", shrunk, shrunk) for i, shrunk in enumerate((2, 4, 8), 1)
    ] + [("stage4", 32, 16)]  # the last with the last, although the mentor has a map shrunk by 16
    assert matches[-1].reason == "last stage of both, resolution 1/32 and 1/16"
    pairs = {match.name: [match.mentor.path, match.mentee.path] for match in matches}
    assert len(find_probes(pairs, mentor, big, mentee, small)) == 4


def test_a_stage_of_several_blocks_on_both_sides_has_a_pair_inside() -> None:
    x = torch.randn(2, 1, 28, 28)
    mentor, mentee = (PlainCNN(1, 10, widths, pool="before") for widths in ((8, 12, 16), (4, 6, 8)))
    matches = match_stages(mentor, x, mentee, x)
    assert [(match.name, match.mentor.path, match.mentee.path) for match in matches] == [
        ("stage1", "features.0", "features.0"),
        ("stage2_inner", "features.1", "features.1"),
        ("stage2", "features.2", "features.2"),
    ]
    assert matches[1].reason == "within the next pair: block 1 of the mentor's 2, 1 of the mentee's 2"


def test_a_mentee_that_pools_at_once_has_a_target_for_each_stage_and_the_last_meets_the_last() -> None:
    """A ResNet of CIFAR (32, 16 and 8 pixels) over a mentee of 16, 8 and 4: by resolution the last two would miss each other."""
    x = torch.randn(2, 3, 32, 32)
    assert pair_paths(ResidualNet(3, 10, (4, 6, 8)), ResidualCNN(3, 10, (4, 4, 4)), x) == [
        ("stages.0", "stages.0"),
        ("stages.1", "stages.1"),
        ("stages.2", "stages.2"),
    ]


def test_a_mentee_of_one_stage_gets_a_target() -> None:
    x = torch.randn(2, 1, 16, 16)
    assert pair_paths(ResidualNet(1, 3, (4, 6, 8)), PlainCNN(1, 3, (4,)), x) == [("stages.2.0", "features.0")]


def test_a_convnexts_stage_ends_in_its_block_not_in_the_next_stages_norm() -> None:
    net = ConvNeXt([CNBlockConfig(8, 12, 2), CNBlockConfig(12, 16, 1), CNBlockConfig(16, None, 1)], num_classes=4)
    assert paths(net, torch.randn(1, 3, 64, 64)) == ["features.1", "features.3", "features.5"]


def test_a_swins_maps_have_their_channels_last_and_are_read_so() -> None:
    net = SwinTransformer([4, 4], 8, [1, 1], [2, 2], [4, 4], num_classes=4)
    x = torch.randn(2, 3, 32, 32)
    found = stages(net, x)
    assert [stage.shape for stage in found] == [(8, 8, 8), (16, 4, 4)]
    assert found[0].path == "features.1"


def pair_paths(mentor: nn.Module, mentee: nn.Module, x: Tensor) -> list[tuple[str, str]]:
    matches = match_stages(mentor, x, mentee, x)
    pairs = {match.name: [match.mentor.path, match.mentee.path] for match in matches}
    assert len(find_probes(pairs, mentor, x, mentee, x)) == len(matches)
    return [(match.mentor.path, match.mentee.path) for match in matches]


@pytest.mark.parametrize(
    (
        "name",
        "side",
        "last",
    ),  # the layer before the first and before the second pooling and the last, as in the papers' tables
    [
        ("googlenet", 64, ["conv1", "conv3", "inception5b"]),
        ("inception_v3", 107, ["Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_7c"]),
    ],
)
def test_an_inception_mentor_pairs_at_the_end_of_each_resolution(name: str, side: int, last: list[str]) -> None:
    build = getattr(torchvision.models, name)
    mentor = build(num_classes=4, aux_logits=False, init_weights=False).eval()
    big, small, mentee = torch.randn(2, 3, side, side), torch.randn(2, 3, 32, 32), PlainCNN(3, 4, widths=(4, 6, 8))
    matches = match_stages(mentor, big, mentee, small)
    assert [(match.mentor.path, match.mentee.path) for match in matches] == [
        *zip(last, ["features.0", "features.1", "features.2"], strict=True)
    ]
    pairs = {match.name: [match.mentor.path, match.mentee.path] for match in matches}
    assert len(find_probes(pairs, mentor, big, mentee, small)) == 3


def test_a_residual_mentor_and_a_plain_mentee_of_as_many_stages_pair_one_by_one() -> None:
    x = torch.randn(2, 3, 32, 32)
    assert pair_paths(torchvision.models.resnet18(num_classes=4), PlainCNN(3, 4, widths=(4, 4, 4, 4)), x) == [
        ("relu", "features.0"),
        ("layer1", "features.1"),
        ("layer2", "features.2"),
        ("layer3", "features.3"),
    ]


def test_a_transformers_blocks_pair_by_depth_with_a_plain_mentees_stages() -> None:
    x = torch.randn(2, 3, 32, 32)
    mentor = VisionTransformer(32, 8, 2, 2, 8, 16, num_classes=4)
    blocks = [f"encoder.layers.encoder_layer_{i}" for i in range(2)]
    assert [step.path for step in steps(mentor, x)] == blocks
    assert pair_paths(mentor, PlainCNN(3, 4, widths=(4, 4, 4)), x) == list(
        zip(blocks, ("features.1", "features.2"), strict=True)
    )
    assert pair_paths(PlainCNN(3, 4, widths=(4, 4)), mentor, x) == list(
        zip(("features.0", "features.1"), blocks, strict=True)
    )
    (first, last) = match_stages(mentor, x, PlainCNN(3, 4, widths=(4, 4, 4)), x)
    assert first.reason == "nearest in depth: stage 1 of 2 and 2 of 3, resolution 1/8 and 1/2"
    assert last.reason == "last stage of both, resolution 1/8 and 1/4"


def test_signals_pair_by_their_length() -> None:
    def net(*strides: int) -> nn.Module:
        convs = [nn.Sequential(nn.Conv2d(2, 2, (1, 3), (1, stride), (0, 1)), nn.ReLU()) for stride in strides]
        return nn.Sequential(*convs, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))

    x = torch.randn(2, 2, 1, 32)
    assert pair_paths(net(1, 2, 1, 2), net(2, 2), x) == [("2", "0"), ("3", "1")]


def test_a_mentor_that_shrinks_at_once_pairs_its_last_stage() -> None:
    mentor = nn.Sequential(nn.Conv2d(1, 4, 8, 8), nn.Flatten(), nn.Linear(64, 2))
    mentee = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Flatten(), nn.Linear(4096, 2))
    x = torch.randn(1, 1, 32, 32)
    assert [(match.mentor.path, match.mentee.path) for match in match_stages(mentor, x, mentee, x)] == [("0", "0")]


def test_a_net_without_a_map_is_an_error_that_names_the_side() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    x = torch.randn(1, 1, 8, 8)
    with pytest.raises(UserError, match="no layer of the mentee"):
        match_stages(ResidualNet(1, 2), x, flat, x)
