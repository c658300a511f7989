"""Reading a state dict into a network, and what is said of one that does not fit."""

import copy
import os
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mentor.restore import restore_mentor
from mentor.weights.load import load_weights
from mentor_mentee.errors import UserError


def network(seed: int, width: int = 4) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 2))


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(value, b.state_dict()[key]) for key, value in a.state_dict().items())


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "module.",
        "_orig_mod.",
        "model.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "model._orig_mod.",
        "model.model.",
    ],
)
@pytest.mark.parametrize("kind", ["safetensors", "torch", "legacy torch", "in a dict"])
def test_every_kind_of_file_loads_with_and_without_a_wrappers_prefix(tmp_path: Path, kind: str, prefix: str) -> None:
    original, target = network(1), network(2)
    state = prefixed(original.state_dict(), prefix)
    path = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pt")
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "in a dict":
        torch.save({"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "torch")
    assert not equal(original, target)
    load_weights(target, path)
    assert equal(original, target)


def test_a_prefix_that_belongs_to_the_network_stays(tmp_path: Path) -> None:
    original, target = (nn.ModuleDict({"model": network(seed)}) for seed in (1, 2))
    save_file(original.state_dict(), tmp_path / "w.safetensors")
    load_weights(target, tmp_path / "w.safetensors")
    assert equal(original, target)


def refused(path: Path, match: str) -> None:
    target = network(2)
    before = copy.deepcopy(target)
    with pytest.raises(UserError, match=match):
        load_weights(target, path)
    assert equal(target, before)


def test_keys_and_shapes_that_do_not_fit_are_named_and_nothing_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(network(1, width=5).state_dict(), path)
    refused(path, r"do not fit Sequential: of another shape 0\.weight and \d more \(file \[5, 3\], network \[4, 3\]\)")
    state = network(1).state_dict()
    save_file({key: value for key, value in state.items() if key != "2.bias"}, path)
    refused(path, r"missing 2\.bias;")
    save_file(state | {"3.weight": torch.zeros(1), "3.bias": torch.zeros(1)}, path)
    refused(path, r"unexpected 3\.(weight|bias) and 1 more;")
    save_file({}, path)
    refused(path, r"missing 0\.weight and 7 more")


def test_a_file_that_was_saved_on_cuda_loads_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, target, path = network(1), network(2), tmp_path / "resnet.th"
    with monkeypatch.context() as patch:  # what torch writes beside each tensor, of which it makes the device again
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save({"state_dict": prefixed(original.state_dict(), "module."), "best_prec1": 91.7}, path)
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA device"):
            torch.load(path, weights_only=True)
    load_weights(target, path)
    assert equal(original, target)
    assert all(value.device.type == "cpu" for value in target.state_dict().values())


def test_a_file_from_before_batch_norm_counted_its_batches_loads(tmp_path: Path) -> None:
    original, target = network(1), network(2)
    original[1].num_batches_tracked += 7
    state = {key: value for key, value in original.state_dict().items() if not key.endswith("num_batches_tracked")}
    save_file(state, tmp_path / "w.safetensors")
    load_weights(target, tmp_path / "w.safetensors")
    assert all(torch.equal(value, target.state_dict()[key]) for key, value in state.items())
    assert int(target[1].num_batches_tracked) == 0


def test_a_layer_can_be_left_as_it_is_whatever_the_file_has_for_it(tmp_path: Path) -> None:
    original, path = network(1), tmp_path / "w.pt"
    state = original.state_dict()
    for head in ({"2.weight": torch.zeros(9, 4), "2.bias": torch.zeros(9)}, {"2.scale": torch.zeros(1)}, {}):
        torch.save(prefixed({key: state[key] for key in state if not key.startswith("2.")} | head, "module."), path)
        target, before = network(2), network(2)
        load_weights(target, path, without="2")
        assert equal(original[:2], target[:2])
        assert equal(before[2], target[2])
    torch.save({"1.weight": torch.zeros(4)}, path)
    with pytest.raises(UserError, match=r"missing 0\.weight and 4 more;"):
        load_weights(network(2), path, without="2")


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere.pt", r"no weights at '.*nowhere\.pt'")
    refused(tmp_path, "no weights at")


@pytest.mark.parametrize("content", [[1, 2], {"a": 3}, {1: torch.zeros(2)}, torch.zeros(2)])
def test_a_torch_file_without_a_state_dict_is_said_so(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "w.pt")
    refused(tmp_path / "w.pt", "not a state dict")


@pytest.mark.parametrize("kind", ["safetensors", "torch", "legacy torch"])
def test_a_cut_or_altered_file_is_an_error_of_the_users_and_nothing_is_loaded(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
    if kind == "safetensors":
        save_file(network(1).state_dict(), path)
    else:
        torch.save(network(1).state_dict(), path, _use_new_zipfile_serialization=kind == "torch")
    whole = path.read_bytes()
    for size in range(0, len(whole) - 1, max(1, len(whole) // 40)):
        path.write_bytes(whole[:size])
        refused(path, "not a readable state dict")
    chance = random.Random(0)
    for _ in range(60):  # some alterations only change a number: then the file is whole, and loads
        altered = bytearray(whole)
        altered[chance.randrange(min(len(whole), 1500))] = chance.randrange(256)
        path.write_bytes(altered)
        with suppress(UserError):
            load_weights(network(2), path)
    for foreign in (b"<html>404</html>", b"version https://git-lfs.github.com/spec/v1\n", b"\x00" * 64):
        path.write_bytes(foreign)
        refused(path, "not a readable state dict")


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_code_in_a_torch_file_does_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    torch.save({"weight": Payload(trace)}, tmp_path / "w.pt")
    refused(tmp_path / "w.pt", "not a readable state dict")
    assert not trace.exists()
    torch.load(tmp_path / "w.pt", weights_only=False)  # so the payload was a live one
    assert trace.exists()


def test_a_mentor_is_restored_from_what_a_checkpoint_says_of_it(tmp_path: Path) -> None:
    from mentor.networks import ResidualNet

    torch.manual_seed(4)
    original = ResidualNet(1, 3, widths=(2, 4)).eval()
    save_file({key: value.contiguous() for key, value in original.state_dict().items()}, tmp_path / "w.safetensors")
    recipe = {"_target_": "mentor.networks.ResidualNet", "in_channels": 1, "num_classes": 3, "widths": [2, 4]}
    about = {
        "network": recipe,
        "weights": str(tmp_path / "w.safetensors"),
        "view": {"shape": [1, 8, 8], "mean": [0.5], "std": [0.25]},
    }
    image_BCHW = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    with torch.no_grad():
        expected_BK = original((image_BCHW / 255 - 0.5) / 0.25)
    torch.testing.assert_close(restore_mentor(about, []).answer(image_BCHW).logits, expected_BK)
