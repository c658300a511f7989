"""A training ended from outside says so in one line and loses no epoch: a full disk, a reading process, an earlier try."""

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.loggers import CSVLogger

from distill.machine import Machine
from distill.mentors.find import FoundMentor
from distill.run import ALONE, distill
from distill.schema import DistillConfig
from distill.training.callbacks.own import remove_empty
from distill.training.differing import differing
from distill.training.ranks import ends_together
from mentor.cache.answers import AnswerCache
from mentor_mentee.errors import UserError
from mentor_mentee.progress import reporting

MakeConfig = Callable[..., DistillConfig]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A write beyond it fails as on a full disk, with another number."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_checkpoint_that_does_not_fit_is_one_line_and_the_run_goes_on_later(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    config = make_config(tmp_path / "run")
    distill(replace(config, trainer=replace(config.trainer, max_epochs=1)), machine, mentor=mentor)
    before = (tmp_path / "run" / "last.ckpt").read_bytes()
    later = replace(config, resume=True)
    with (
        files_of_at_most(4096),
        pytest.raises(UserError, match=r"last\.ckpt' cannot be written after epoch 1 \(.*resume=true$"),
    ):
        distill(later, machine, mentor=mentor)
    assert (tmp_path / "run" / "last.ckpt").read_bytes() == before
    assert [path.name for path in (tmp_path / "run").glob("*.partial")] == []
    assert len(distill(later, machine, mentor=mentor).history) == 3


def test_where_answers_cannot_be_cached_any_more_the_mentor_is_asked_and_says_the_same(
    make_config: MakeConfig, mentor: FoundMentor, tmp_path: Path
) -> None:
    from mentor_mentee.data.load import load_data

    splits = load_data(make_config(tmp_path).data)
    index_B, view_B = splits.val.positions[:8], torch.zeros(8, dtype=torch.int64)
    expected = AnswerCache(mentor.mentor(), splits.val, folder=tmp_path / "a").answer(index_B, view_B)
    said: list[str] = []
    with reporting(said.append), files_of_at_most(1000):
        found = AnswerCache(mentor.mentor(), splits.val, folder=tmp_path / "b").answer(index_B, view_B)
    assert torch.equal(found.logits, expected.logits)
    (line,) = said
    assert line.startswith(f"the mentor's answers cannot be cached in {tmp_path / 'b'} (")
    assert line.endswith("): it is asked again at each step")


READING = """
import os, signal
from torch.utils.data import Dataset
from mentor_mentee.errors import UserError

class Numbers(Dataset):
    def __init__(self, killed):
        self.killed = killed
    def __len__(self):
        return 2
    def __getitem__(self, index):
        if self.killed:
            os.kill(os.getpid(), signal.SIGKILL)
        raise UserError(f"picture {index} is damaged; replace it")
"""


@pytest.mark.parametrize(
    ("killed", "message"),
    [
        (False, r"^picture 0 is damaged; replace it$"),
        (True, r"^a process that reads batches was ended .*trainer\.workers=0$"),
    ],
)
def test_what_ends_a_reading_process_is_one_line(killed: bool, message: str, own_module: Callable[[str], str]) -> None:
    from importlib import import_module

    numbers = import_module(own_module(READING)).Numbers(killed)
    with pytest.raises(UserError, match=message), ends_together():
        list(torch.utils.data.DataLoader(numbers, batch_size=None, num_workers=1))


def test_a_log_without_a_row_makes_room_for_the_next_try(tmp_path: Path) -> None:
    for number, names in enumerate((["metrics.csv", "hparams.yaml"], ["hparams.yaml"], [])):
        (tmp_path / "csv" / f"version_{number}").mkdir(parents=True)
        for name in names:
            (tmp_path / "csv" / f"version_{number}" / name).touch()
    remove_empty(tmp_path / "csv")
    assert [path.name for path in (tmp_path / "csv").iterdir()] == ["version_0"]
    assert CSVLogger(tmp_path, "csv").version == 1


def test_an_average_of_lightnings_appends_no_step_and_no_epoch_to_the_run(
    make_config: MakeConfig, machine: Machine, mentor: FoundMentor, tmp_path: Path
) -> None:
    """It appends an epoch for BatchNorm's statistics."""
    swa = {"_target_": "pytorch_lightning.callbacks.StochasticWeightAveraging", "swa_lrs": 0.01}
    config = make_config(tmp_path, callbacks={"swa": swa}, trainer=replace(make_config(tmp_path).trainer, max_epochs=4))
    plain = distill(replace(config, callbacks={}, run_dir=str(tmp_path / "plain")), machine, mentor=mentor).history
    history = distill(config, machine, mentor=mentor).history
    assert [row["alpha"] for row in history[:4]] == [row["alpha"] for row in plain]
    assert (len(history), history[-1]["step"]) == (5, plain[-1]["step"])
    assert [row["learning_rate"] for row in history[:2]] == [row["learning_rate"] for row in plain[:2]]
    assert len(distill(replace(config, resume=True), machine, mentor=mentor).history) == 5


def test_a_factor_of_zero_for_everything_is_refused(
    make_config: MakeConfig, machine: Machine, mentor: FoundMentor, tmp_path: Path
) -> None:
    fit = replace(make_config(tmp_path).trainer, layer_rates={"features.*": 0.0, "*": 0.0})
    with pytest.raises(
        UserError, match=r"trainer\.layer_rates=.* leaves nothing of the network to train; expected a factor"
    ):
        distill(make_config(tmp_path, trainer=fit, schedule=ALONE), machine, mentor=mentor)


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        ("{'a': {'b': 1, 'c': 2}}", "{'a': {'b': 1, 'c': 3}, 'd': 4}", [("x.a.c", "2", "3"), ("x.d", "nothing", "4")]),
        (
            "Curve(alpha=((0, 1.0),), beta=2)",
            "Curve(alpha=((0, 0.5),), beta=2)",
            [("x.alpha", "((0, 1.0),)", "((0, 0.5),)")],
        ),
        ("[Probe(name='a')]", "[Probe(name='a'), Probe(name='b')]", [("x.1.name", "nothing", "'b'")]),
        ("View((1, 8))", "View((1, 9))", [("x", "View((1, 8))", "View((1, 9))")]),
        ("3fb2 not python", "4", [("x", "3fb2 not python", "4")]),
    ],
)
def test_only_what_differs_is_named(before: str, now: str, found: list[Any]) -> None:
    assert differing(before, now, "x") == found
