"""Milliseconds of single steps under cached answers and of a lone mentee, in turn: their parts, and the ratio of each pair.

    python -m benchmarks.server.steps [--rounds 6] [--mentor resnet18]

The networks, images and settings of `epochs`, whose ratios are of whole trainings. One thread; the thread's own CPU time, and
each step beside the lone one a moment before it, so that other work on the machine counts for little. Answers are known by then.
"""

import argparse
import itertools
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.console import Console

from benchmarks.server.epochs import Row, shared
from distill.curves import read_schedule
from distill.machine import Machine
from distill.mentors.find import find_mentor
from distill.mentors.probe_options import read_probes
from distill.prepare import prepare
from distill.schema import DistillConfig
from distill.training.fit import Batches
from distill.training.module import Distillation, fastest_layout
from distill.training.optimizer import optimizer_and_rates
from mentor_mentee.config.compose import compose
from mentor_mentee.data.batches import Drawn
from mentor_mentee.data.load import load_data

ARMS = {"lone": "schedule=alone probes=none", "softmax alone": "probes=none", "the default's layers": ""}
WARM = 2  # rounds that are not counted
STEPS = 96  # of the training that these are of


@dataclass
class Arm:
    module: Distillation
    optimizer: torch.optim.Optimizer
    batches: list[Drawn]
    parts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server.steps")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--mentor", default="resnet18", choices=("resnet18", "resnet50", "vgg16"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        arms = {name: arm(settings.split(), given.mentor, Path(folder)) for name, settings in ARMS.items()}
        for done in range(WARM + given.rounds):
            for i in range(len(arms["lone"].batches)):
                for one in arms.values():
                    step(one, i, counts=done >= WARM)
    steps = len(arms["lone"].parts["step"])
    print(f"torch {torch.__version__}, {given.mentor}, 1 thread, n = {steps} steps; ms, medians")
    for name, one in arms.items():
        medians = "  ".join(f"{part} {1000 * statistics.median(one.parts[part]):6.2f}" for part in one.parts)
        ratio = statistics.median(a / b for a, b in zip(one.parts["step"], arms["lone"].parts["step"], strict=True))
        print(f"{name:22} {medians}  / lone {ratio:.3f}")


def arm(settings: list[str], mentor: str, folder: Path) -> Arm:
    machine = Machine("cpu", 1, Console(quiet=True))
    config = compose(
        "distill", DistillConfig, [*shared(Row("", mentor=mentor), folder), f"run_dir={folder}/run", *settings]
    )
    found = find_mentor(config.mentor, load_data(config.data, whole=True), Path(config.cache_dir), machine)
    schedule = read_schedule(config.schedule, layers=read_probes(config.probes).wanted)
    run = prepare(config, schedule, machine, found)
    module = Distillation(
        run.probed, run.mentee.view, run.schedule, config.trainer, 1, run.mentor, run.loss, caches=run.caches
    )
    module.layout = fastest_layout(module.student)
    module.student.to(memory_format=module.layout).train()
    optimizer, _ = optimizer_and_rates(module.student, config.trainer, STEPS, torch.device("cpu"))
    return Arm(module, optimizer, list(Batches(run.splits, config.trainer, 1, run.schedule).train_dataloader()))


def step(one: Arm, batch: int, counts: bool) -> None:
    knobs = one.module.schedule.at_step(10, STEPS)
    times = [time.thread_time()]
    loss = one.module.terms(one.batches[batch], knobs)[0].loss.squeeze(0)
    times.append(time.thread_time())
    one.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    times.append(time.thread_time())
    one.optimizer.step()
    times.append(time.thread_time())
    if counts:
        spans = [after - before for before, after in itertools.pairwise(times)]
        for part, span in zip(
            ("step", "forward", "backward", "optimizer"), (times[-1] - times[0], *spans), strict=True
        ):
            one.parts[part].append(span)


if __name__ == "__main__":
    main()
