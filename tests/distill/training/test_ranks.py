"""A training by two processes: the weights of one with the same batches, one file of each kind, and no hang where one dies."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from distill.machine import Machine
from distill.schema import FitConfig
from distill.training.trainer import require_trainer
from mentor_mentee.data.batches import EpochBatches
from mentor_mentee.data.datasets import digits
from mentor_mentee.data.pools import training_pools
from mentor_mentee.errors import UserError
from tests.cli.conftest import TINY, command, environment, run
from tests.waiting import wait_until

# no BatchNorm, whose statistics are of each process's share; 900 samples in batches of 65: shares of 33 and 32, a last batch
GIVEN = [*TINY, "mentee.network.batch_norm=false", "trainer.batch=65", "trainer.optimizer=sgd"]
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


def nodes(words: list[str], cwd: Path) -> list[subprocess.CompletedProcess[str]]:
    """The command on two "machines" of one process each, as torchrun starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    children = [
        subprocess.Popen(
            command("-m", "distill", *words),
            cwd=cwd,
            env=environment() | shared | {"RANK": rank, "GROUP_RANK": rank, "LOCAL_RANK": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    said = [child.communicate(timeout=600) for child in children]
    return [
        subprocess.CompletedProcess(words, child.returncode, *both) for child, both in zip(children, said, strict=True)
    ]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_two_machines_give_the_weights_of_one_process_and_write_once(tmp_path: Path) -> None:
    given = [*GIVEN, *MIXED, "cache_dir=cache"]
    first, second = nodes([*given, "trainer.num_nodes=2", "run_dir=2"], tmp_path)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert (second.stdout, second.stderr) == ("", "")
    assert first.stderr.count("mentee: epoch 1/1") == 1
    alone = run("distill", *given, "run_dir=1", cwd=tmp_path)
    assert "mentor cached by an earlier run" in alone.stderr
    one, two = (load_file(tmp_path / name / "mentee.safetensors") for name in "12")
    for name, value in one.items():
        assert float((two[name] - value).abs().max()) < 1e-5, name
    files = [{path.name for path in (tmp_path / name).iterdir()} for name in "12"]
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("options", "started", "message"),
    [
        ({"num_nodes": 2}, {}, r"started alone; start one for each device: .* torchrun --nnodes=2 --nproc-per-node=1"),
        (
            {},
            {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "4"},
            r"torchrun started 4 processes.* are 1; expected",
        ),
        ({"devices": 2}, {"SLURM_NTASKS": "8", "SLURM_PROCID": "3"}, r"srun started 8 processes, .*devices=2 .* are 2"),
    ],
)
def test_other_processes_than_were_started_are_refused(
    options: dict[str, int], started: dict[str, str], message: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        require_trainer(FitConfig(**options), "trainer", machine)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"mentor\.fit\.num_nodes=2: a mentor is trained on one machine"):
        require_trainer(FitConfig(num_nodes=2), "mentor.fit", machine)
