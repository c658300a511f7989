"""probes=measured: planted answers are found, and pairs of real families are in order and can be compared."""

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import MobileNetV2
from torchvision.models.vgg import make_layers
from torchvision.models.vision_transformer import VisionTransformer

from mentee.networks import PlainCNN
from mentor.networks import ResidualNet
from mentor_mentee.errors import UserError
from mentor_mentee.objective.probes import find_probes
from mentor_mentee.pairing.cka import debiased_cka
from mentor_mentee.pairing.measured import averaged, candidates, measure_stages
from mentor_mentee.pairing.stages import layers


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def batches(*sizes: int, side: int = 32) -> list[Tensor]:
    return [torch.randn(size, 3, side, side) for size in sizes]


def vgg(*widths: int | str) -> nn.Module:
    """VGG's own layers without its classifier of 120 million weights."""
    channels = [width for width in widths if isinstance(width, int)][-1]
    return nn.Sequential(
        OrderedDict(
            features=make_layers(list(widths)),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            head=nn.Linear(channels, 4),
        )
    )


class Chain(nn.Module):
    """Blocks of one width and a stride each."""

    def __init__(self, *strides: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(3, 3, 3, stride, 1, bias=False), nn.Tanh()) for stride in strides)
        )
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(x).mean((2, 3)))  # type: ignore[no-any-return]


def test_a_planted_copy_is_paired_with_its_original_and_the_reason_names_both_scores() -> None:
    """The mentee's blocks are the mentor's own blocks 0 to 2, of its four: the third one is left out."""
    mentor = Chain(1, 2, 1, 2).eval()
    mentee = Chain(1, 2, 2).eval()
    for own, original in zip(mentee.blocks, (mentor.blocks[0], mentor.blocks[1], mentor.blocks[3]), strict=True):
        own.load_state_dict(original.state_dict())
    x = batches(20, 20, side=16)
    matches = measure_stages(mentor, x, mentee, x)
    early = [(match.mentor.path, match.mentee.path) for match in matches[:2]]
    assert early == [("blocks.0.1", "blocks.0.1"), ("blocks.1.1", "blocks.1.1")]
    assert [match.score for match in matches[:2]] == pytest.approx([1, 1])
    assert all(f"CKA {match.score:.2f}; " in match.reason for match in matches)
    assert all("reaches 0." in match.reason for match in matches)


def test_the_score_is_the_cka_of_both_layers_averaged_maps() -> None:
    mentor, mentee = ResidualNet(3, 4, widths=(4, 6)).eval(), PlainCNN(3, 4, widths=(3, 5)).eval()
    x = batches(12, 9, side=16)
    seen: dict[str, Tensor] = {}
    for name, net in (("mentor", mentor), ("mentee", mentee)):
        for match in measure_stages(mentor, x, mentee, x):
            path = getattr(match, name).path
            hook = net.get_submodule(path).register_forward_hook(
                lambda _m, _i, out, key=f"{name} {match.name}": seen.update({key: out.clone()})
            )
            with torch.no_grad():
                net(torch.cat(x))
            hook.remove()
    for match in measure_stages(mentor, x, mentee, x):
        flat = [
            nn.functional.adaptive_avg_pool2d(seen[f"{side} {match.name}"], 4).flatten(1)
            for side in ("mentor", "mentee")
        ]
        assert match.score == pytest.approx(float(debiased_cka(*flat)), rel=1e-5)


@pytest.mark.parametrize("mentor", ["vgg", "vit", "resnet"])
def test_pairs_of_families_are_in_order_one_a_resolution_and_every_pair_gets_an_adapter(mentor: str) -> None:
    nets: dict[str, tuple[nn.Module, nn.Module]] = {
        "vgg": (vgg(8, "M", 12, "M", 16, 16, "M"), MobileNetV2(num_classes=4, width_mult=0.1)),
        "vit": (VisionTransformer(32, 8, 2, 2, 8, 16, num_classes=4), PlainCNN(3, 4)),
        "resnet": (ResidualNet(3, 4, widths=(4, 6, 8)), PlainCNN(3, 4)),
    }
    large, small = nets[mentor]
    x = batches(16, 8)
    matches = measure_stages(large, x, small, x)
    assert 2 <= len(matches) <= 4
    assert [match.name for match in matches] == [f"stage{i}" for i in range(1, len(matches) + 1)]
    for side in ("mentor", "mentee"):
        depths = [getattr(match, side).depth for match in matches]
        assert depths == sorted(set(depths))
    assert len({match.mentee.shrunk for match in matches}) == len(matches)
    pairs = {match.name: [match.mentor.path, match.mentee.path] for match in matches}
    assert len(find_probes(pairs, large, x[0], small, x[0])) == len(matches)


def test_candidates_are_bounded_and_no_convolutions_own_output_is_among_them() -> None:
    net = MobileNetV2(num_classes=4, width_mult=0.1)
    x = torch.randn(2, 3, 32, 32)
    found = candidates(net, x)
    assert len(found) == 16 < len(layers(net, x))
    assert not any(isinstance(net.get_submodule(layer.path), nn.Conv2d | nn.BatchNorm2d) for layer in found)
    assert [layer.depth for layer in found] == sorted(layer.depth for layer in found)


def test_a_map_is_averaged_to_cells_and_a_wide_one_further() -> None:
    x = torch.randn(2, 3, 8, 8)
    expected = x.view(2, 3, 4, 2, 4, 2).mean((3, 5)).flatten(1)
    torch.testing.assert_close(averaged(x), expected)
    assert averaged(torch.randn(2, 3, 1, 6)).shape == (2, 12)
    assert averaged(torch.randn(2, 2048, 8, 8)).shape == (2, 8192)
    assert averaged(torch.randn(2, 9000, 3, 3)).shape == (2, 9000)


def test_a_net_without_a_map_is_an_error_that_names_the_side() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2))
    x = batches(4, side=8)
    with pytest.raises(UserError, match="no layer of the mentee"):
        measure_stages(ResidualNet(3, 2), x, flat, x)
