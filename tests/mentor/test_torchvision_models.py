"""torchvision's classifiers as mentors: one tensor of logits, probes that in-place layers do not spoil, published weights.

Nothing is downloaded: a file of the published name, with random weights, lies where torchvision keeps what it has fetched.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from mentor.mentor import Mentor
from mentor.torchvision_models import classifier, find_weights, own_view, published
from mentor.weights.load import load_weights
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError
from mentor_mentee.objective.probes import find_probes
from mentor_mentee.objective.taps import find_head

# the smallest input it takes, its first convolution and BatchNorm (whose output an in-place ReLU overwrites), its head
TRIED = {
    "alexnet": (63, "features.0", None, "classifier.6"),
    "vgg16": (32, "features.0", None, "classifier.6"),
    "vgg19": (32, "features.0", None, "classifier.6"),
    "googlenet": (32, "conv1.conv", "conv1.bn", "fc"),
    "inception_v3": (75, "Conv2d_1a_3x3.conv", "Conv2d_1a_3x3.bn", "fc"),
    **{f"resnet{depth}": (32, "conv1", "bn1", "fc") for depth in (18, 34, 50, 101, 152)},
}


def quick(name: str) -> nn.Module:
    """5 classes. Its weights repeat one block of random numbers: drawing VGG's 138 million takes seconds."""
    with torch.device("meta"):
        network = classifier(name, 5)
    network.to_empty(device="cpu")
    block = torch.rand(65_537, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for key, value in network.state_dict().items():
        if value.is_floating_point():
            values = block.repeat(value.numel() // len(block) + 1)[: value.numel()].view_as(value)
            if value.dim() > 1:
                values *= (6 / value[0].numel()) ** 0.5  # He: keeps the scale from layer to layer
            value.copy_(values.abs() + 0.5 if key.endswith("running_var") else values)
        else:
            value.zero_()
    return network


def images(batch: int, size: int = 40) -> Tensor:
    return torch.randint(0, 256, (batch, 1, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", TRIED)
def test_it_answers_and_can_be_probed(name: str) -> None:
    size, conv, bn, head = TRIED[name]
    network = quick(name)
    view = View((3, size, size), (0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
    x = view(images(2))
    probed = bn or conv
    mentor = Mentor(network, view, find_probes({"stem": (probed, probed)}, network, x, network, x))
    versions = {key: value._version for key, value in network.state_dict().items()}
    first, again = mentor.answer(images(2)), mentor.answer(images(2))
    assert first.logits.shape == (2, 5)
    assert bool(torch.isfinite(first.logits).all())
    assert torch.equal(first.logits, again.logits)
    assert {key: value._version for key, value in network.state_dict().items()} == versions  # nothing wrote to it

    layers = dict(network.named_modules())
    expected = F.conv2d(x, layers[conv].weight, layers[conv].bias, layers[conv].stride, layers[conv].padding)
    if bn:
        norm = layers[bn]
        expected = F.batch_norm(expected, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
    torch.testing.assert_close(first.activations["stem"], expected)
    assert float(expected.min()) < 0  # so the ReLU after it would have shown
    assert find_head(network, x) == head
    assert len(mentor.fingerprint()) == 64


@pytest.mark.parametrize("name", ["googlenet", "inception_v3", "resnet18"])
def test_the_fingerprint_is_of_the_weights_and_answering_leaves_it(name: str) -> None:
    size = TRIED[name][0]
    network, view = quick(name), View((3, size, size), (0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
    mentor = Mentor(network, view)
    before = mentor.fingerprint()
    network.train()
    mentor.answer(images(2))
    assert mentor.fingerprint() == before
    with torch.no_grad():
        next(iter(network.parameters())).flatten()[3] += 1e-3
    assert mentor.fingerprint() != before


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_put_nothing_out_in_training_either(name: str) -> None:
    network = quick(name).train()
    with torch.no_grad():
        assert network(torch.randn(2, 3, TRIED[name][0], TRIED[name][0])).shape == (2, 5)
    assert not [key for key in network.state_dict() if "aux" in key.lower()]


def test_inception_takes_its_own_299_pixels() -> None:
    view = own_view(find_weights("inception_v3", "IMAGENET1K_V1"))
    assert view.shape == (3, 299, 299)
    assert Mentor(quick("inception_v3"), view).answer(images(1)).logits.shape == (1, 5)


def test_every_classifier_of_torchvision_is_known_and_has_weights_with_a_view() -> None:
    names = models.list_models(module=models)
    assert set(TRIED) < set(names)
    assert not any("rcnn" in name or "fcn" in name or "quantized" in name for name in names)
    for name in names:
        view = own_view(find_weights(name, "DEFAULT"))
        assert view.shape[0] == len(view.mean) == len(view.std) == 3
        assert 200 <= view.shape[1] == view.shape[2] <= 600


def put_in_torchs_cache(home: Path, url: str, network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(home))
    path = home / "hub" / "checkpoints" / url.rpartition("/")[2]
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), path)
    return path


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "googlenet", "inception_v3"])
def test_published_weights_answer_as_torchvisions_own_network_with_them(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = find_weights(name, "IMAGENET1K_V1")
    auxiliary = {"aux_logits": True, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    path = put_in_torchs_cache(tmp_path, weights.url, models.get_model(name, **auxiliary), monkeypatch)
    own = models.get_model(name, weights=weights).eval()
    network = classifier(name, transform_input=name in ("googlenet", "inception_v3"))
    network.load_state_dict(published(name, weights))
    from_file = classifier(name, transform_input=name in ("googlenet", "inception_v3"))
    load_weights(from_file, path)  # with its auxiliary heads' keys
    size = weights.transforms().crop_size[0]
    # so large already that nothing is resized, and of that size that nothing would be cropped: the two views agree
    image_BCHW = images(1, size).repeat(1, 3, 1, 1)
    transforms = weights.transforms(resize_size=size)
    with torch.no_grad():
        expected_BK = own(transforms(image_BCHW))
    for mentor in (Mentor(network, own_view(weights)), Mentor(from_file, own_view(weights))):
        torch.testing.assert_close(mentor.answer(image_BCHW).logits, expected_BK, rtol=1e-4, atol=1e-5)


def test_names_that_torchvision_lacks_are_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(UserError, match=r"no classifier 'resnet81'; did you mean 'resnet18'\? \(\d\d are known\)"):
        classifier("resnet81")
    with pytest.raises(UserError, match="no classifier 'ResNet18'; did you mean 'resnet18'"):
        find_weights("ResNet18", "DEFAULT")
    with pytest.raises(UserError, match="no classifier 'fasterrcnn_resnet50_fpn'"):
        classifier("fasterrcnn_resnet50_fpn")
    wrong = r"no weights 'IMAGENET1K_V3' for resnet50; did you mean 'IMAGENET1K_V\d'\? \(torchvision has IMAGENET1K_V1, IMAG"
    with pytest.raises(UserError, match=wrong):
        find_weights("resnet50", "IMAGENET1K_V3")
    assert find_weights("resnet50", "ResNet50_Weights.IMAGENET1K_V2") is models.ResNet50_Weights.IMAGENET1K_V2
    with pytest.raises(UserError, match="'resnet18' has no transform_input"):
        classifier("resnet18", transform_input=True)


def test_weights_that_cannot_be_fetched_name_the_file_to_put_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = find_weights("squeezenet1_1", "DEFAULT")
    path = put_in_torchs_cache(tmp_path, weights.url, nn.Linear(1, 1), monkeypatch)
    path.write_bytes(b"cut")
    with pytest.raises(UserError, match=rf"could not be had from {weights.url} or '{tmp_path}/hub/checkpoints'"):
        published("squeezenet1_1", weights)
