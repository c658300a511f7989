"""Another metric and softmax loss, from the configuration to the history, the figures and the checkpoint."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from distill.check import check_distill
from distill.machine import Machine
from distill.mentors.find import FoundMentor
from distill.present import draw_run
from distill.run import distill
from distill.schema import DistillConfig, FitConfig, LossConfig
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.config.compose import compose
from mentor_mentee.errors import UserError
from mentor_mentee.objective.loss_spec import LossSpec

MakeConfig = Callable[..., DistillConfig]


def test_a_run_has_the_terms_of_its_loss(
    make_config: MakeConfig,
    machine: Machine,
    mentor: FoundMentor,
    constant_schedule: dict[str, Any],
    tmp_path: Path,
) -> None:
    config = make_config(tmp_path, loss=LossConfig("cosine", "dkd", True), schedule=constant_schedule)
    result = distill(config, machine, mentor=mentor)
    spec = LossSpec("cosine", "dkd", True)
    for row in result.history:
        assert not any("rmse" in name or "_kl" in name for name in row)
        for part in ("train", "val"):
            ce, early, late, dkd = (row[f"{part}_{name}"] for name in spec.term_names(["early", "late"]))
            assert min(ce, early, late, dkd) > 0
            assert max(early, late) < 2
            assert row[f"{part}_loss"] == pytest.approx(0.75 * ce + 1.5 * (early + late) + 0.25 * 9 * dkd, rel=1e-5)
    assert result.checkpoint.loss == MenteeCheckpoint.load(result.checkpoint_path).loss == spec
    draw_run(result, tmp_path / "report")
    for name in ("terms", "probes"):
        assert len(Image.open(tmp_path / "report" / f"{name}.png").getcolors(1 << 20) or []) > 10

    last = replace(config, resume=True, trainer=replace(config.trainer, max_epochs=4))
    changed = "; ".join(
        rf"loss\.{name} = {was}, this one has {now}"
        for name, was, now in (
            ("probe", "'cosine'", "'rmse'"),
            ("softmax", "'dkd'", "'kl'"),
            ("standardise", True, False),
        )
    )
    with pytest.raises(UserError, match=changed):
        distill(replace(last, loss=LossConfig()), machine, mentor=mentor)


def test_the_cosine_of_a_run_is_torchs(
    make_config: MakeConfig, machine: Machine, mentor: FoundMentor, tmp_path: Path
) -> None:
    """Validation after a step of rate ~0: BatchNorm aside, the network at the end is that of the row."""
    fit = FitConfig(max_epochs=1, steps_per_epoch=1, batch=8, learning_rate=1e-30, weight_decay=0)
    config = make_config(
        tmp_path,
        loss=LossConfig("cosine", "prob_rmse"),
        trainer=fit,
        probes={"late": {"mentor": "stages.0", "mentee": "features.0", "adapter": "identity"}},
    )
    result = distill(config, machine, mentor=mentor)
    seen: dict[str, torch.Tensor] = {}
    network, images = result.checkpoint.network(), result.splits.val.images
    for net, layer in ((network, "features.0"), (mentor.network, "stages.0")):
        net.get_submodule(layer).register_forward_hook(lambda _m, _i, out, key=layer: seen.update({key: out.clone()}))
    with torch.no_grad():
        network(result.checkpoint.view(images)), mentor.network.eval()(mentor.view(images))
    expected = 1 - F.cosine_similarity(seen["features.0"].flatten(1), seen["stages.0"].flatten(1)).mean()
    assert result.history[0]["val_cosine_late"] == pytest.approx(float(expected), rel=1e-3)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (LossConfig(probe="cosinus"), r"^loss\.probe=cosinus; expected .*; did you mean 'cosine'\?$"),
        (LossConfig(softmax="mse"), r"^loss\.softmax=mse; expected kl"),
    ],
)
def test_a_wrong_name_is_answered_before_anything_starts(
    make_config: MakeConfig, tmp_path: Path, loss: LossConfig, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_distill(make_config(tmp_path, loss=loss))


def test_the_command_line_and_an_experiment_file_choose_it(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\nloss: {softmax: dist, standardise: true}\n"
    )
    given = [f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine", "loss.probe=attention", "run_dir=here"]
    config = compose("distill", DistillConfig, given)
    assert config.loss == LossConfig("attention", "dist", True)
    check_distill(config)
    assert LossSpec(**vars(LossConfig())) == LossSpec()


def test_attention_at_a_vector_is_an_error_before_the_first_step(
    make_config: MakeConfig, machine: Machine, mentor: FoundMentor, tmp_path: Path
) -> None:
    config = make_config(tmp_path, loss=LossConfig("attention"), probes={"end": ["head", "head"]})
    with pytest.raises(UserError, match=r"probe 'end' compares \[10\], which has one position"):
        distill(config, machine, mentor=mentor)


def test_a_checkpoint_from_before_the_choice_has_the_papers_loss(checkpoint: MenteeCheckpoint, tmp_path: Path) -> None:
    import json

    from safetensors import safe_open
    from safetensors.torch import save_file

    path = tmp_path / "mentee.safetensors"
    replace(checkpoint, loss=LossSpec("l1")).save(path)
    with safe_open(path, framework="pt") as file:
        about, state = json.loads(file.metadata()["mentee"]), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    assert about.pop("loss") == {"probe": "l1", "softmax": "kl", "standardise": False}
    save_file(state, path, {"mentee": json.dumps(about)})
    assert MenteeCheckpoint.load(path).loss == LossSpec()
