"""Milliseconds of a training step on the server with each part of supervision added, as ratios to the lone mentee's.

    python -m benchmarks.speed.server_step [ROUNDS]

One thread, digits, batch 64, the demo's mentor and mentee with fresh weights; interleaved rounds of plain torch steps on the
very modules that Lightning trains, so that its own cost per step stands out in the last row.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from distill.curves import Schedule
from distill.machine import Machine
from distill.schedules import constant
from distill.schema import FitConfig
from distill.training.fit import fit
from distill.training.module import Distillation
from mentee.networks import PlainCNN
from mentor.cache import AnswerCache
from mentor.mentor import Mentor
from mentor.networks import ResidualNet
from mentor_mentee.data.datasets import digits
from mentor_mentee.data.splits import Batch
from mentor_mentee.data.views.view import View, normalisation
from mentor_mentee.objective.probes import ProbedMentee, find_probes

STEPS = 20


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    torch.set_num_threads(1)
    splits = digits()
    view = View((1, 8, 8), *normalisation(splits.train))
    batch = splits.train.__getitems__(range(64))
    pairs = {"early": ["stages.0", "features.0"], "middle": ["stages.1", "features.1"]}

    def module(schedule: Schedule, probed: bool, mentored: bool, cached: bool = False) -> Distillation:
        network, large = PlainCNN(1, 10), ResidualNet(1, 10, blocks=2)
        example = view(batch.image_BCHW[:2])
        probes = find_probes(pairs if probed else {}, large, example, network, example)
        mentor = Mentor(large, view, probes) if mentored else None
        made = Distillation(ProbedMentee(network, probes, "head"), view, schedule, FitConfig(max_epochs=1), 0, mentor)
        if cached and mentor is not None:
            made.caches = {"val": AnswerCache(mentor, splits.train)}  # a plain batch is answered as one of validation
        return made

    steps = {
        "mentee alone": stepper(module(constant(1, 0, 0, 1), False, False), batch),
        "+ mentor's softmax": stepper(module(constant(1, 0, 1, 4), False, True), batch),
        "+ two probes": stepper(module(constant(1, 1, 1, 4), True, True), batch),
        "both, answers cached": stepper(module(constant(1, 1, 1, 4), True, True, True), batch),
    }
    milliseconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(STEPS):
                step()
            milliseconds[name].append(1000 * (time.perf_counter() - start) / STEPS)
    milliseconds["the same under Lightning, with history"] = under_lightning(
        module(constant(1, 1, 1, 4), True, True), rounds
    )
    scale = statistics.median(milliseconds["mentee alone"])
    print(f"torch {torch.__version__}, 1 thread, batch 64, n = {rounds} rounds of {STEPS} steps")
    print(f"{'step':42}  median ms  min ms   / alone")
    for name, values in milliseconds.items():
        print(
            f"{name:42}  {statistics.median(values):9.2f}  {min(values):6.2f}  {statistics.median(values) / scale:8.2f}"
        )


def stepper(module: Distillation, batch: Batch) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(module.student.parameters())
    knobs = module.schedule.at(0)

    def step() -> None:
        optimizer.zero_grad()
        terms, _, _ = module.terms(batch, knobs)
        terms.loss.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def under_lightning(module: Distillation, rounds: int) -> list[float]:
    module.fit_config = FitConfig(max_epochs=rounds, steps_per_epoch=STEPS, batch=64)
    with tempfile.TemporaryDirectory() as folder:
        fitted = fit(module, digits(), "benchmark", Machine("cpu", 1), Path(folder) / "last.ckpt")
    return [row["ms_per_step"] for row in fitted.history]


if __name__ == "__main__":
    main()
