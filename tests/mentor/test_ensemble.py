"""An ensemble answers with the mean of its members' logits, and takes their weights from one file."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mentee.networks import PlainCNN
from mentor.ensemble import Ensemble, main, merge
from mentor.networks import ResidualNet
from mentor.restore import restore_mentor
from mentor.weights.load import load_weights
from mentor_mentee.errors import UserError

PLAIN: dict[str, Any] = {"_target_": "mentee.networks.PlainCNN", "widths": [4, 8]}
RESIDUAL: dict[str, Any] = {"_target_": "mentor.networks.ResidualNet", "widths": [4, 8]}


@pytest.fixture
def trained() -> list[nn.Module]:
    torch.manual_seed(3)
    return [PlainCNN(1, 5, [4, 8]).eval(), ResidualNet(1, 5, [4, 8]).eval()]


@pytest.fixture
def files(trained: list[nn.Module], tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "plain.safetensors", tmp_path / "residual.pt"]
    save_file(trained[0].state_dict(), paths[0])
    torch.save({f"_orig_mod.module.{key}": value for key, value in trained[1].state_dict().items()}, paths[1])
    return paths


def by_hand(trained: list[nn.Module], x: Tensor) -> Tensor:
    with torch.no_grad():
        return (trained[0](x) + trained[1](x)) / 2


def test_it_answers_as_its_members_do_on_average(trained: list[nn.Module], files: list[Path], tmp_path: Path) -> None:
    out, x = tmp_path / "both.safetensors", torch.randn(6, 1, 8, 8)
    assert main([str(out), *map(str, files)]) == 0
    ensemble = Ensemble([PLAIN, RESIDUAL], num_classes=5, in_channels=1)
    load_weights(ensemble, out)
    with torch.no_grad():
        torch.testing.assert_close(ensemble.eval()(x), by_hand(trained, x))
    assert [path.name for path in tmp_path.glob("*.partial")] == []


def test_a_run_asks_it_and_its_checkpoint_remembers_it(
    trained: list[nn.Module], files: list[Path], tmp_path: Path
) -> None:
    merge(files, tmp_path / "both.safetensors")
    network = {"_target_": "mentor.ensemble.Ensemble", "members": [PLAIN, RESIDUAL], "num_classes": 5, "in_channels": 1}
    view = {"shape": [1, 8, 8], "mean": [0.5], "std": [0.25]}
    mentor = restore_mentor({"network": network, "weights": str(tmp_path / "both.safetensors"), "view": view}, ())
    images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    torch.testing.assert_close(
        mentor.answer(images).logits, by_hand(trained, (images.float() / 255 - 0.5) / 0.25), rtol=1e-4, atol=1e-5
    )


def test_members_in_another_order_are_named(files: list[Path], tmp_path: Path) -> None:
    merge(files[::-1], tmp_path / "both.safetensors")
    with pytest.raises(UserError, match=r"missing members\.0\."):
        load_weights(Ensemble([PLAIN, RESIDUAL], 5, 1), tmp_path / "both.safetensors")


def test_what_is_no_ensemble(files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"1 members; list two or more recipes"):
        Ensemble([PLAIN], 5, 1)
    with pytest.raises(UserError, match=r"mentor\.network\.members\[1\].*no option 'width_'"):
        Ensemble([PLAIN, {**PLAIN, "width_": 2}], 5, 1)
    for given, code in ((["out.safetensors", str(files[0])], 2), (["--help"], 0)):
        with pytest.raises(SystemExit) as ended:
            main(given)
        assert ended.value.code == code
    assert main([str(tmp_path / "out.safetensors"), str(files[0]), str(tmp_path / "absent.pt")]) == 1
    assert main([str(tmp_path / "no" / "out.safetensors"), *map(str, files)]) == 1
    said = capsys.readouterr().err
    assert "usage" in said
    assert "absent.pt" in said
    assert "cannot be written" in said
    assert not (tmp_path / "out.safetensors").exists()


def test_the_command(files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "both.safetensors"
    done = subprocess.run(
        [sys.executable, "-m", "mentor.ensemble", out, *files], capture_output=True, text=True, check=True
    )
    assert "mentor=ensemble" in done.stdout
    assert {key.split(".")[1] for key in load_file(out)} == {"0", "1"}
