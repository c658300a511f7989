"""A mentee's model card, its folder as Hugging Face's libraries have it, and one line where the hub fails."""

import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mentee.card import called
from mentee.checkpoint import LastKnobs, MenteeCheckpoint
from mentee.networks import PlainCNN
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError

RECIPE = {"_target_": "mentee.networks.PlainCNN", "in_channels": 1, "num_classes": 3, "widths": [2]}


@pytest.fixture
def checkpoint() -> MenteeCheckpoint:
    torch.manual_seed(0)
    return MenteeCheckpoint(
        recipe=RECIPE,
        state=PlainCNN(1, 3, [2]).state_dict(),
        head="head",
        view=View((1, 8, 8), (0.25,), (0.5,)),
        classes=("cat", "dog|wolf", "cow"),
        probes=(),
        mentor={"network": {"_target_": "mentor.networks.ResidualNet", "widths": [4]}, "weights": "/home/me/m.pt"},
        data={
            "_target_": "mentor_mentee.data.image_folder.image_folder",
            "root": "/home/me/pets",
            "size": 8,
            "seed": None,
        },
        accuracy={"val": {"accuracy": float("nan"), "samples": 30}, "test": {"accuracy": 0.875, "samples": 1600}},
        knobs=LastKnobs(1, 0.5, 0.25, 3, 1, True),
        shown="best of 9 epochs on validation, epoch 4",
        run={"schedule": "α 1 → 1 → 1", "steps": 1200, "seed": 7, "parameters": 31, "mentor_test_accuracy": 0.9},
    )


def test_the_card_says_what_the_checkpoint_says_and_no_place_on_a_machine(checkpoint: MenteeCheckpoint) -> None:
    card = checkpoint.card()
    _, front, body = card.split("---\n", 2)
    about = yaml.safe_load(front)
    assert about == {
        "library_name": "mentor-mentee",
        "pipeline_tag": "image-classification",
        "tags": ["mentor-mentee", "knowledge-distillation", "on-device-training"],
        "datasets": ["image_folder"],
        "metrics": ["accuracy"],
    }
    for line in (
        "| network | `PlainCNN(in_channels=1, num_classes=3, widths=[2])` |",
        "| parameters | 31 |",
        "| input | 1×8×8 uint8, seen as (pixel / 255 − [0.25]) / [0.5] |",
        "| test split | 87.50% | 1,600 |",
        "| test split, the mentor | 90.00% |  |",
        "The weights are those of: best of 9 epochs on validation, epoch 4.",
        "| data | `image_folder(size=8)` |",
        "| mentor | `ResidualNet(widths=[4])` |",
        "| steps | 1200 |",
        "| at the last step | alpha 1, beta 0.5, gamma 0.25, temperature 3 |",
        "cat, dog|wolf, cow",
        "load only those you trust",
    ):
        assert line in body, line
    assert "/home" not in card
    assert "nan" not in card
    assert checkpoint.card() == card
    bare = replace(checkpoint, data={}, mentor=None, accuracy={}, knobs=None, run={"mentor": "Net"}).card()
    for line in ("| data | a DataLoader of a script, not named |", "| mentor | Net |", "Not measured: "):
        assert line in bare, line
    assert "datasets" not in bare


def test_odd_names_of_classes_stay_one_line_of_text(checkpoint: MenteeCheckpoint) -> None:
    card = replace(checkpoint, classes=("line\nbreak", "---\nlicense: x", "<b>`_*", "caf\udcff")).card()
    assert "\nline break, --- license: x, \\<b\\>\\`\\_\\*, caf?\n" in card
    assert yaml.safe_load(card.split("---\n")[1])["library_name"] == "mentor-mentee"


@pytest.mark.parametrize("part", ["recipe", "data", "accuracy", "mentor", "head", "run"])
def test_a_file_that_says_another_kind_of_thing_is_one_line(
    checkpoint: MenteeCheckpoint, tmp_path: Path, part: str
) -> None:
    replace(checkpoint, **{part: 7}).save(tmp_path / "mentee.safetensors")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=f"lacks part of what .* says of itself \\({part} = 7\\); distill again"):
        MenteeCheckpoint.from_pretrained(tmp_path)


def test_a_folder_that_cannot_be_made(checkpoint: MenteeCheckpoint, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(UserError, match=r"cannot be made .*; give a folder that can be written"):
            checkpoint.save_pretrained(folder)


def test_a_recipe_in_words() -> None:
    inner = {"_target_": "transformers.ViTConfig", "num_labels": 3}
    given = {"_target_": "a.b.Net", "config": inner, "path": "/x", "file": "~/y", "names": ["`", 1]}
    assert called(given) == "Net(config=ViTConfig(num_labels=3), names=[', 1])"


def test_a_folder_is_saved_and_read_and_an_edited_card_stays(checkpoint: MenteeCheckpoint, tmp_path: Path) -> None:
    folder = checkpoint.save_pretrained(tmp_path / "deep" / "mine")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "mentee.safetensors"]
    assert (folder / "README.md").read_text() == checkpoint.card()
    for name in (folder, str(folder), folder / "mentee.safetensors"):
        read = MenteeCheckpoint.from_pretrained(name)
        assert all(torch.equal(read.state[key], value) for key, value in checkpoint.state.items())
        assert read.card() == checkpoint.card()
    (folder / "README.md").write_text("---\nlicense: mit\n---\nmine")
    replace(checkpoint, shown="last step").save_pretrained(folder)
    assert (folder / "README.md").read_text() == "---\nlicense: mit\n---\nmine"
    assert MenteeCheckpoint.from_pretrained(folder).shown == "last step"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no mentee checkpoint at '.*empty/mentee\.safetensors'"):
        MenteeCheckpoint.from_pretrained(tmp_path / "empty")


def test_what_was_saved_before_there_were_cards_has_one_too(checkpoint: MenteeCheckpoint, tmp_path: Path) -> None:
    older = replace(checkpoint, run={})
    older.save(tmp_path / "old.safetensors")
    assert "| parameters |" not in MenteeCheckpoint.from_pretrained(tmp_path / "old.safetensors").card()


@pytest.mark.parametrize("name", ["nowhere", "./a/b", "a/b/c", "/no/where", "a/"])
def test_a_name_that_is_neither_a_folder_nor_the_hubs(checkpoint: MenteeCheckpoint, name: str) -> None:
    with pytest.raises(
        UserError, match=f"'{name}' is no folder and no name of the hub's; expected a folder that exists"
    ):
        MenteeCheckpoint.from_pretrained(name)
    with pytest.raises(UserError, match="no name of the hub's"):
        checkpoint.push_to_hub(name)


def test_the_hub_without_its_package(checkpoint: MenteeCheckpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (lambda: MenteeCheckpoint.from_pretrained("me/mine"), lambda: checkpoint.push_to_hub("me/mine")):
        with pytest.raises(UserError, match=r"needs the package huggingface_hub, .*pip install 'mentor-mentee\[hub\]'"):
            call()


def test_a_hub_that_cannot_be_reached_is_one_line(
    checkpoint: MenteeCheckpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub", reason="needs pip install 'mentor-mentee[hub]'")
    constants: Any = import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        UserError, match=r"mentee\.safetensors of 'me/mine' could not be had from the hub .*hf auth login"
    ):
        MenteeCheckpoint.from_pretrained("me/mine")
    with pytest.raises(
        UserError, match=r"'me/mine' could not be pushed to the hub \(.*\); log in with `hf auth login`"
    ):
        checkpoint.push_to_hub("me/mine")
