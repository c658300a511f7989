"""A configuration against the lone mentee: same network, labels, seeds and steps, last step, test split.

    python -m benchmarks.speed.paired SEEDS [override ...]

for example `python -m benchmarks.speed.paired 5 data.labels_per_class=10 trainer.steps_per_epoch=15 schedule=constant`. The lone
mentee gets the labelled samples only. Runs stay in a temporary folder, the mentor under cache_dir.
"""

import sys
import tempfile
from pathlib import Path

from rich.console import Console

from distill.handover import record_of
from distill.machine import Machine
from distill.mentors.find import find_mentor
from distill.report.comparison import Scored, Spread, differences, pairs_by_seed, spreads, unit_of
from distill.run import alone, distill
from distill.schema import DistillConfig
from mentor_mentee.config.compose import compose
from mentor_mentee.data.load import load_data


def main() -> None:
    seeds, overrides = int(sys.argv[1]), sys.argv[2:]
    machine = Machine(console=Console(quiet=True))
    supervised: list[Scored] = []
    lone: list[Scored] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(1, seeds + 1):
            config = compose("distill", DistillConfig, [*overrides, f"seed={seed}", f"run_dir={folder}/supervised"])
            mentor = find_mentor(config.mentor, load_data(config.data, whole=True), Path(config.cache_dir), machine)
            for side, settings in ((supervised, config), (lone, alone(config, f"{folder}/alone"))):
                record = record_of(distill(settings, machine, mentor=mentor), settings)
                side.append(Scored(settings.run_dir, record, record.scores))
            print(f"seed {seed}: supervised {shown(supervised[-1:])}, alone {shown(lone[-1:])}", flush=True)
    record = supervised[-1].record
    gains = differences(pairs_by_seed(supervised, lone))
    mentor_accuracy = Spread.of([record.mentor_scores["accuracy"]]).shown(unit_of("accuracy"))
    print(f"mentor {mentor_accuracy}, {record.steps} steps, n = {seeds}, difference with its 95 % confidence interval")
    for name, gain in gains.items():
        means = [spreads([run.scores for run in side])[name].shown(unit_of(name)) for side in (supervised, lone)]
        print(f"{unit_of(name).title}: supervised {means[0]}, alone {means[1]}, difference {gain.shown(unit_of(name))}")


def shown(runs: list[Scored]) -> str:
    return spreads([run.scores for run in runs])["accuracy"].shown(unit_of("accuracy"))


if __name__ == "__main__":
    main()
