"""Evaluation of a mentee and its mentor on a split. Axes: N samples, K classes."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from distill.evaluate.command import run_command
from distill.evaluate.evaluation import evaluate, probe_cka, scores
from distill.schema import EvaluateConfig
from mentee.checkpoint import MenteeCheckpoint
from mentor.restore import restore_mentor
from mentor_mentee.data.load import load_data
from mentor_mentee.data.splits import Split
from mentor_mentee.errors import UserError
from mentor_mentee.pairing.cka import debiased_cka
from tests.distill.report.test_comparison import RECORD


def test_unlabelled_samples_count_for_the_mentor_alone() -> None:
    image_NCHW = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1)
    split = Split(image_NCHW, torch.tensor([0, 1, -1, 1, 0, -1]))
    answers = torch.eye(2)[[0, 0, 1, 1, 1, 0]]
    mentee = evaluate(lambda image_B: answers[image_B.flatten().long()], split, 2, batch=4)
    mentor = evaluate(lambda image_B: 1 - answers[image_B.flatten().long()], split, 2)
    assert (mentee.accuracy, mentee.samples) == (0.5, 4)  # of samples 0, 1, 3, 4 the first and the third
    assert mentee.confusion_KK.tolist() == [[1, 1], [1, 1]]
    found = scores(mentee, mentor)
    assert set(found) == {"accuracy", "ece", "agreement", "kl"}  # two classes: no top 5
    assert found["agreement"] == 0
    assert set(scores(mentee)) == {"accuracy", "ece"}


@pytest.fixture(scope="module")
def test_split(checkpoint: MenteeCheckpoint) -> Split:
    return load_data(checkpoint.data, whole=True).test


def test_the_cka_of_a_probe_is_of_what_its_two_layers_put_out(checkpoint: MenteeCheckpoint, test_split: Split) -> None:
    network, mentor = checkpoint.network(), restore_mentor(checkpoint.mentor or {}, ())
    seen: dict[str, Tensor] = {}
    layers = {"mentee": network.features[1], "mentor": mentor.network.stages[1]}
    hooks = [
        layer.register_forward_hook(lambda _layer, _given, out, side=side: seen.__setitem__(side, out.clone()))
        for side, layer in layers.items()
    ]
    with torch.no_grad():
        network(checkpoint.view(test_split.images))
        mentor.network.eval()(mentor.view(test_split.images))
    for hook in hooks:
        hook.remove()
    both = (network, checkpoint.view), (mentor.network, mentor.view)
    found = probe_cka(*both, checkpoint.probes, test_split, batch=300)
    assert set(found) == {"cka_early", "cka_late"}
    assert found["cka_late"] == pytest.approx(float(debiased_cka(seen["mentee"], seen["mentor"])), abs=1e-6)
    same = [replace(probe, mentor=probe.mentee) for probe in checkpoint.probes]
    assert probe_cka(both[0], both[0], same, test_split) == pytest.approx({"cka_early": 1, "cka_late": 1})


def saved(checkpoint: MenteeCheckpoint, folder: Path, seed: int, shift: float, steps: int = 300) -> str:
    """A run's folder, its mentee moved off by a little so that each answers otherwise."""
    folder.mkdir()
    torch.manual_seed(seed)
    moved = {
        name: value + shift * torch.randn_like(value) if name.startswith("head") else value
        for name, value in checkpoint.state.items()
    }
    replace(checkpoint, state=moved).save(folder / "mentee.safetensors")
    (folder / "run.json").write_text(json.dumps(asdict(replace(RECORD, seed=seed, steps=steps))))
    return str(folder / "mentee.safetensors")


def test_several_runs_give_mean_and_std_and_a_paired_difference(
    checkpoint: MenteeCheckpoint, test_split: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [saved(checkpoint, tmp_path / f"run{seed}", seed, 0.05) for seed in (1, 2, 3)]
    probeless = replace(checkpoint, probes=())  # as a lone run leaves it
    lone = [saved(probeless, tmp_path / f"lone{seed}", seed, 0.8) for seed in (3, 1, 2)]
    run_command(EvaluateConfig(checkpoint=runs, against=lone, out=str(tmp_path / "out")))
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())

    def accuracy(path: str) -> float:
        network = MenteeCheckpoint.load(Path(path)).network()
        with torch.no_grad():
            right_N = network(checkpoint.view(test_split.images)).argmax(1) == test_split.labels
        return float(right_N.double().mean())

    values = torch.tensor([accuracy(path) for path in runs], dtype=torch.float64)
    controls = torch.tensor([accuracy(lone[i]) for i in (1, 2, 0)], dtype=torch.float64)
    assert len(set(values.tolist())) == 3
    found = content["mean"]["accuracy"]
    assert (found["mean"], found["std"]) == pytest.approx((float(values.mean()), float(values.std())))
    gain, paired = values - controls, content["paired"]["accuracy"]
    half = 4.30265273 * float(gain.std()) / 3**0.5
    assert (paired["mean"], paired["low"]) == pytest.approx((float(gain.mean()), float(gain.mean()) - half))
    assert {"top5", "ece", "agreement", "kl", "cka_early", "cka_late"} < set(content["paired"])
    assert len(content["mentors"]) == 1  # asked once, though six checkpoints name it
    assert "paired by seed, n = 3" in capsys.readouterr().out
    assert (tmp_path / "out" / "confusion.png").is_file()
    assert "Confusion: the 3 mentees, summed" in (tmp_path / "out" / "evaluation.html").read_text()


def test_what_is_no_pair_is_refused(checkpoint: MenteeCheckpoint, tmp_path: Path) -> None:
    run = saved(checkpoint, tmp_path / "run", 1, 0.1)
    lone = saved(checkpoint, tmp_path / "lone", 1, 0.1, steps=200)
    with pytest.raises(UserError, match=r"are no pair, for the steps \(300 and 200\) differ"):
        run_command(EvaluateConfig(checkpoint=run, against=lone))
    (tmp_path / "lone" / "run.json").unlink()
    with pytest.raises(UserError, match=r"no run\.json in '.*lone', which says a run's seed, steps and data"):
        run_command(EvaluateConfig(checkpoint=run, against=[lone]))
    (tmp_path / "lone" / "run.json").write_text("{}")
    with pytest.raises(UserError, match=r"lone/run\.json' is not a whole run\.json"):
        run_command(EvaluateConfig(checkpoint=run, against=[lone]))


def test_a_scripts_checkpoint_wants_its_data_named(checkpoint: MenteeCheckpoint, tmp_path: Path) -> None:
    path = saved(replace(checkpoint, data={}), tmp_path / "run", 1, 0)
    with pytest.raises(
        UserError, match=r"mentee.safetensors' names no data, .*: data=own data\._target_=my_data\.my_sets"
    ):
        run_command(EvaluateConfig(checkpoint=path))
    run_command(EvaluateConfig(checkpoint=path, data=dict(checkpoint.data)))
    assert (tmp_path / "run" / "evaluation.json").is_file()


def test_checkpoints_of_other_data_have_no_split_in_common(checkpoint: MenteeCheckpoint, tmp_path: Path) -> None:
    run = saved(checkpoint, tmp_path / "run", 1, 0.1)
    other = replace(checkpoint, data={"_target_": "mentor_mentee.data.datasets.digits", "seed": 1})
    second = saved(other, tmp_path / "other", 2, 0.1)
    with pytest.raises(UserError, match=r"the test splits of '.*run/mentee.safetensors' and '.*other/.*' differ"):
        run_command(EvaluateConfig(checkpoint=[run, second]))
    run_command(EvaluateConfig(checkpoint=[run, second], data={"_target_": "mentor_mentee.data.datasets.digits"}))
    assert (tmp_path / "evaluation.json").is_file()  # above them both
