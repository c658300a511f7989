"""The file that distillation hands to export: what comes out is what went in, or an error that says why."""

import json
import os
import struct
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mentee.checkpoint import FORMAT, LastKnobs, MenteeCheckpoint
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError
from mentor_mentee.objective.adapters import Adapter, Constants
from mentor_mentee.objective.probes import Probe, ProbedMentee
from mentor_mentee.recipe import build

RECIPE: dict[str, Any] = {
    "_target_": "mentee.networks.PlainCNN",
    "in_channels": 1,
    "num_classes": 3,
    "widths": [2, 4],
}


@pytest.fixture
def made() -> MenteeCheckpoint:
    torch.manual_seed(0)
    network = build(RECIPE, "a test")
    network(torch.randn(8, 1, 8, 8))  # moves BatchNorm's statistics and its int64 counter
    return MenteeCheckpoint(
        recipe=RECIPE,
        state=network.state_dict(),
        head="head",
        view=View((1, 8, 8), (0.1307,), (0.3081,)),
        classes=("null", "eins", "zwei ü"),
        probes=(
            Probe("early", "layer1", "features.0", Adapter((2, 8, 8), (4, 16, 16), (2, 8, 8)), weight=1.75),
            Probe("vector", "fc", "head", Adapter((3,), (3,), (3,))),
        ),
        mentor={
            "network": RECIPE,
            "weights": "w.safetensors",
            "view": {"shape": [1, 8, 8], "mean": [0.1], "std": [1.0]},
        },
        data={"_target_": "mentor_mentee.data.datasets.digits", "labels_per_class": 4},
        accuracy={"test": {"accuracy": 1 / 3, "samples": 800}},
        knobs=LastKnobs(1.0, 0.0, 0.417, 9.6, highest_gamma=0.5, in_units=True),
    )


def test_what_is_loaded_is_bit_for_bit_what_was_saved(made: MenteeCheckpoint, tmp_path: Path) -> None:
    path = tmp_path / "mentee.safetensors"
    made.save(path)
    loaded = MenteeCheckpoint.load(path)
    for field in fields(MenteeCheckpoint):
        if field.name != "state":
            assert getattr(loaded, field.name) == getattr(made, field.name), field.name
    assert loaded.state.keys() == made.state.keys()
    for key, value in made.state.items():
        assert loaded.state[key].dtype == value.dtype
        assert loaded.state[key].shape == value.shape
        assert loaded.state[key].numpy().tobytes() == value.numpy().tobytes(), key


def test_the_view_keeps_its_dtype(made: MenteeCheckpoint, tmp_path: Path) -> None:
    view = View((1, 8, 8), (9.81,), (3.0,), "float32")
    replace(made, view=view).save(tmp_path / "mentee.safetensors")
    assert MenteeCheckpoint.load(tmp_path / "mentee.safetensors").view == view


def test_the_network_answers_in_eval_mode_as_it_did(made: MenteeCheckpoint, tmp_path: Path) -> None:
    made.save(tmp_path / "mentee.safetensors")
    network = MenteeCheckpoint.load(tmp_path / "mentee.safetensors").network()
    original = build(RECIPE, "a test")
    original.load_state_dict(made.state)
    x = torch.randn(5, 1, 8, 8)
    assert not any(module.training for module in network.modules())
    assert torch.equal(network(x), original.eval()(x))


def test_without_a_mentor_there_is_none_after_loading(made: MenteeCheckpoint, tmp_path: Path) -> None:
    replace(made, mentor=None, probes=()).save(tmp_path / "m.safetensors")
    loaded = MenteeCheckpoint.load(tmp_path / "m.safetensors")
    assert loaded.mentor is None
    assert loaded.probes == ()


def test_views_of_one_storage_and_transposed_tensors_are_saved(made: MenteeCheckpoint, tmp_path: Path) -> None:
    whole = torch.arange(6.0).view(2, 3)
    tied = replace(made, state={"a": whole, "b": whole, "c": whole.T, "d": whole[0].requires_grad_()})
    tied.save(tmp_path / "m.safetensors")
    loaded = MenteeCheckpoint.load(tmp_path / "m.safetensors").state
    assert [loaded[key].tolist() for key in "abcd"] == [whole.tolist(), whole.tolist(), whole.T.tolist(), [0, 1, 2]]


def test_only_the_mentees_weights_are_in_the_file(made: MenteeCheckpoint, tmp_path: Path) -> None:
    made.save(tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", framework="pt") as file:
        assert set(file.keys()) == set(made.state)
        assert "state" not in json.loads(file.metadata()["mentee"])


def adapted(made: MenteeCheckpoint) -> MenteeCheckpoint:
    """A checkpoint with every kind of tensor of an adapter, and a probe that shares its name with the mentee's own layer."""
    random = torch.Generator().manual_seed(0)
    tensors = {
        "learned": {"weight": (4, 2, 1, 1), "bias": (4,), "mean": (4,), "std": (4,)},
        "head": {"projection": (2, 4)},
        "turned": {"projection": (2, 4), "weight": (2, 2, 1, 1), "bias": (2,)},
    }
    learned, axes, turned = (
        Constants({key: torch.randn(shape, generator=random) for key, shape in shapes.items()})
        for shapes in tensors.values()
    )
    return replace(
        made,
        probes=(
            made.probes[0],
            Probe("learned", "a", "features.0", Adapter((2, 8, 8), (4, 8, 8), (4, 8, 8), "regressor", True, learned)),
            Probe("head", "a", "features.0", Adapter((2, 8, 8), (4, 8, 8), (2, 8, 8), "pca", False, axes)),
            Probe("turned", "a", "features.0", Adapter((2, 8, 8), (4, 8, 8), (2, 8, 8), "projector", False, turned)),
        ),
    )


def test_adapters_travel_beside_the_mentees_own_weights(made: MenteeCheckpoint, tmp_path: Path) -> None:
    before = adapted(made)
    before.save(tmp_path / "m.safetensors")
    loaded = MenteeCheckpoint.load(tmp_path / "m.safetensors")
    assert loaded.probes == before.probes
    for probe, was in zip(loaded.probes, before.probes, strict=True):
        for name, value in was.adapter.constants.tensors.items():
            assert torch.equal(probe.adapter.constants.tensors[name], value)
    assert set(loaded.state) == set(made.state)
    loaded.network()  # as plain mentee
    x = torch.randn(2, 1, 8, 8)
    outputs = [ProbedMentee(one.network(), one.probes, one.head).eval()(x).activations for one in (before, loaded)]
    assert all(torch.equal(outputs[0][name], outputs[1][name]) for name in outputs[0])


@pytest.mark.parametrize(
    "lost", ["adapters/learned/bias", "adapters/learned/std", "adapters/head/projection", "adapters/turned/weight"]
)
def test_an_adapter_that_lost_a_tensor_is_an_error_that_names_it(
    made: MenteeCheckpoint, tmp_path: Path, lost: str
) -> None:
    path = tmp_path / "m.safetensors"
    adapted(made).save(path)
    with safe_open(path, framework="pt") as file:
        about, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    del tensors[lost]
    save_file(tensors, path, metadata=about)
    with pytest.raises(UserError, match=f"lacks part of what .*{lost}"):
        MenteeCheckpoint.load(path)


def test_a_checkpoint_of_the_older_format_is_still_read(made: MenteeCheckpoint, tmp_path: Path) -> None:
    """Metadata as version 1 wrote it: three shapes to an adapter, which was always a slice."""
    path = tmp_path / "m.safetensors"
    made.save(path)
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["mentee"]) | {"format": "mentee-checkpoint/1"}
    for probe in about["probes"]:
        probe["adapter"] = {key: probe["adapter"][key] for key in ("mentee", "mentor", "shape")}
    del about["knobs"]
    save_file(dict(made.state), path, metadata={"mentee": json.dumps(about)})
    loaded = MenteeCheckpoint.load(path)
    assert [probe.adapter.shape for probe in loaded.probes] == [probe.adapter.shape for probe in made.probes]
    assert {probe.adapter.kind for probe in loaded.probes} == {"slice"}
    assert loaded.knobs is None


@pytest.mark.parametrize(
    "knobs", [{"alpha": 1.0}, {"gamma": -1.0}, {"temperature": float("nan")}, {"beta": "much"}, {"delta": 1.0}, [1, 2]]
)
def test_knobs_that_no_run_had_are_refused(made: MenteeCheckpoint, tmp_path: Path, knobs: Any) -> None:
    path = tmp_path / "m.safetensors"
    made.save(path)
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["mentee"])
    changed = {**about["knobs"], **knobs} if isinstance(knobs, dict) and knobs != {"alpha": 1.0} else knobs
    save_file(dict(made.state), path, metadata={"mentee": json.dumps(about | {"knobs": changed})})
    with pytest.raises(UserError, match=r"m\.safetensors' lacks part of what"):
        MenteeCheckpoint.load(path)


def test_a_cut_file_is_an_error_at_every_length(made: MenteeCheckpoint, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    made.save(path)
    whole = path.read_bytes()
    for size in [*range(0, len(whole), len(whole) // 50), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match="not a whole safetensors file"):
            MenteeCheckpoint.load(path)


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no mentee checkpoint at .*expected the mentee\.safetensors"):
        MenteeCheckpoint.load(tmp_path / "mentee.safetensors")


@pytest.mark.parametrize(
    "metadata",
    [None, {}, {"mentee": "{}"}, {"mentee": '{"format": "mentee-checkpoint/9"}'}, {"mentee": "[1]"}, {"mentee": "3"}],
)
def test_a_foreign_safetensors_file_is_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "m.safetensors", metadata=metadata)
    with pytest.raises(UserError, match=f"not a {FORMAT} file"):
        MenteeCheckpoint.load(tmp_path / "m.safetensors")


def test_metadata_that_is_no_json_is_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "m.safetensors", metadata={"mentee": "{"})
    with pytest.raises(UserError, match=r"m\.safetensors' is not"):
        MenteeCheckpoint.load(tmp_path / "m.safetensors")


def test_an_absurd_header_length_is_refused(made: MenteeCheckpoint, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    made.save(path)
    path.write_bytes(struct.pack("<Q", 1 << 60) + path.read_bytes()[8:])
    with pytest.raises(UserError, match="not a whole safetensors file"):
        MenteeCheckpoint.load(path)


@pytest.mark.parametrize(
    ("change", "names"),
    [({"widths": [2, 5]}, "features.1"), ({"widths": [2, 4, 8]}, "features.2"), ({"batch_norm": False}, "features.0")],
)
def test_a_network_that_changed_since_the_run_is_an_error(
    made: MenteeCheckpoint, change: dict[str, Any], names: str
) -> None:
    with pytest.raises(UserError, match=rf"weights do not fit its network .*{names}.*Distill again"):
        replace(made, recipe=RECIPE | change).network()


def test_a_network_that_is_gone_is_an_error(made: MenteeCheckpoint) -> None:
    with pytest.raises(UserError, match=r"the checkpoint's network\._target_: no 'PlainCnn'.*did you mean 'PlainCNN'"):
        replace(made, recipe=RECIPE | {"_target_": "mentee.networks.PlainCnn"}).network()


def test_a_save_that_fails_leaves_the_older_file_whole(made: MenteeCheckpoint, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    made.save(path)
    before = path.read_bytes()
    (tmp_path / f"m.safetensors.{os.getpid()}.partial").mkdir()  # nothing can be written there
    with pytest.raises(Exception, match="directory"):
        replace(made, head="other").save(path)
    assert path.read_bytes() == before
    (tmp_path / f"m.safetensors.{os.getpid()}.partial").rmdir()
    replace(made, head="other").save(path)
    assert MenteeCheckpoint.load(path).head == "other"
    assert list(tmp_path.iterdir()) == [path]
