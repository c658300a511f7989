"""A configuration against the lone mentee: same network, labels, seeds and steps, last step, test accuracy.

    python -m benchmarks.paired SEEDS [override ...]

for example `python -m benchmarks.paired 5 data.labels_per_class=10 trainer.steps_per_epoch=15 schedule=constant`. The lone
mentee gets the labelled samples only. Runs and the mentor stay in a temporary folder and under cache_dir.
"""

import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from configs.compose import compose
from data.load import load_data
from distill.fit import Machine
from distill.mentors import find_mentor
from distill.run import ALONE, distill
from distill.schema import DistillConfig


def main() -> None:
    seeds, overrides = int(sys.argv[1]), sys.argv[2:]
    machine = Machine(console=Console(quiet=True))
    supervised, alone = [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(1, seeds + 1):
            config = compose("distill", DistillConfig, [*overrides, f"seed={seed}", f"run_dir={folder}"])
            mentor = find_mentor(config.mentor, load_data(config.data, whole=True), Path(config.cache_dir), machine)
            labelled = {**config.data, "keep_unlabelled": False}
            result = distill(config, machine, mentor=mentor)
            lone = distill(replace(config, data=labelled, schedule=ALONE), machine, mentor=mentor)
            supervised.append(100 * result.mentee.accuracy)
            alone.append(100 * lone.mentee.accuracy)
            print(f"seed {seed}: supervised {supervised[-1]:.2f}, alone {alone[-1]:.2f}", flush=True)
    gains = [one - other for one, other in zip(supervised, alone, strict=True)]
    print(f"mentor {100 * result.mentor.accuracy:.2f}, {int(result.history[-1]['step'])} steps, n = {seeds}")
    for name, values in (("supervised", supervised), ("alone", alone), ("supervised - alone", gains)):
        print(f"{name:20} {statistics.mean(values):6.2f} ± {statistics.stdev(values):.2f}")


if __name__ == "__main__":
    main()
