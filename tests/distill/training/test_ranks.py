"""A training by two processes: the weights of one with the same batches, one file of each kind, and no hang where one dies."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from mentor_mentee.data.batches import EpochBatches
from mentor_mentee.data.datasets import digits
from mentor_mentee.data.pools import training_pools
from mentor_mentee.errors import UserError
from tests.cli.conftest import TINY, command, environment, run
from tests.waiting import wait_until

# no BatchNorm, whose statistics are of each process's share; 900 samples in batches of 65: shares of 33 and 32, a last batch
GIVEN = [*TINY, "mentee.network.batch_norm=false", "trainer.batch=65", "trainer.optimizer=sgd", "preflight=false"]
MIXED = ["data.labels_per_class=5", "data.keep_unlabelled=true", "augment=crop_flip", "trainer.augment.mix.cutmix=1"]


def test_shares_make_up_the_batch() -> None:
    labels = digits().train.labels.numpy()
    whole = [sorted(batch) for batch in EpochBatches(training_pools(labels, 65, 1))]
    halves = [EpochBatches(training_pools(labels, 65, 1)) for _ in range(2)]
    for rank, half in enumerate(halves):
        half.share(rank, 2)
    assert [sorted([*a, *b]) for a, b in zip(*halves, strict=True)] == whole
    with pytest.raises(UserError, match="a batch of 1 samples for 2 processes"):
        EpochBatches(training_pools(labels, 1, 1)).share(0, 2)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_two_processes_give_the_weights_of_one(tmp_path: Path) -> None:
    for devices in (1, 2):
        done = run(
            "distill",
            *GIVEN,
            *MIXED,
            f"trainer.devices={devices}",
            f"run_dir={devices}",
            "cache_dir=cache",
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("mentee: epoch 1/1") == 1
        assert "arning" not in done.stderr
    one, two = (load_file(tmp_path / name / "mentee.safetensors") for name in "12")
    for name, value in one.items():
        assert float((two[name] - value).abs().max()) < 1e-5, name
    files = [{path.name for path in (tmp_path / name).iterdir()} for name in "12"]
    assert files[0] == files[1]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_a_process_that_is_killed_ends_the_run_in_one_line(tmp_path: Path) -> None:
    given = [*GIVEN, "trainer.max_epochs=5000", "trainer.devices=2", "run_dir=here"]
    with subprocess.Popen(
        command("-m", "distill", *given), cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    ) as child:
        wait_until((tmp_path / "here" / "last.ckpt").exists, lambda: child.poll() is None)
        children = map(int, Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split())
        ranks = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        begun = time.monotonic()
        os.kill(ranks[-1], signal.SIGKILL)
        _, said = child.communicate(timeout=60)
    assert child.returncode == 2
    assert time.monotonic() - begun < 60
    last = said.splitlines()[-1]
    assert last.startswith(
        "error: a process of the training, rank 1, was ended by signal SIGKILL, and the others with it"
    )
