"""MNIST-p and Fashion-MNIST-p: mentees on p labels a class, alone and under a mentor, with and without the unlabelled rest.

    python -m benchmarks.labels.budgets mnist DATA_ROOT [override ...] [--seeds 5] [--labels 10 50 100] [--only alone both]

Every arm of a seed has the same labelled images (other ones for each seed), steps and network; test accuracy at the last
step, mean ± std over seeds, and the paired difference to the lone mentee with its 95 % interval. Runs are stored under --out:
called again it makes what is missing and prints the table. The mentor is trained first, some twenty minutes of one core.
"""

import argparse
from pathlib import Path

from rich.console import Console

from distill.machine import Machine
from distill.mentors.find import FoundMentor, find_mentor
from distill.report.comparison import UNITS, Difference, Scored, Spread, pairs_by_seed
from distill.report.page import Table
from distill.report.record import RunRecord
from distill.run import distill
from distill.run_folder import RECORD
from distill.schema import DistillConfig
from mentor_mentee.config.compose import compose
from mentor_mentee.data.load import load_data

PAIRS = [f"probes.conv{i + 1}=[features.{i},features.{i}]" for i in range(3)]
KD = ["probes=none", "schedule.beta=[[0,0]]"]
FIRST = "probes._adapter_=slice"  # the mentor's first channels
LAYERS = ["probes=none", *PAIRS, FIRST, "schedule.beta=[[0,40]]"]
SELECT = "probes._adapter_=select"
SOFT = ["schedule.gamma=[[0,0.3]]", "schedule.temperature=[[0,16]]"]  # else 1 and 4
ARMS = {
    "alone": ["probes=none", "schedule=alone"],
    "RMSE": [*LAYERS, "schedule.gamma=[[0,0]]"],
    "KD": KD,
    "both": LAYERS,
    "RMSE, select": [*LAYERS, SELECT, "schedule.gamma=[[0,0]]"],
    "KD, soft": [*KD, *SOFT],
    "both, select": [*LAYERS, SELECT],
    "both, soft": [*LAYERS, *SOFT],
    "both, select, soft": [*LAYERS, SELECT, *SOFT],
}
BETAS = {"l1": 40, "l2": 40, "cosine": 40, "attention": 500, "similarity": 3000}  # of the last two their authors' own
ARMS |= {
    f"layers, {metric}": [*ARMS["RMSE"], f"loss.probe={metric}", f"schedule.beta=[[0,{beta}]]"]
    + (["probes._adapter_=auto"] if metric in ("attention", "similarity") else [])
    for metric, beta in BETAS.items()
}
ARMS |= {f"softmax, {loss}": [*KD, f"loss.softmax={loss}"] for loss in ("prob_rmse", "dkd", "dist")}
ARMS |= {"softmax, prob_rmse at T = 1": [*KD, "loss.softmax=prob_rmse", "schedule.temperature=[[0,1]]"]}
ARMS |= {"softmax, z-scores": [*KD, "loss.standardise=true"]}
SCHEDULES = ("obedient", "adamant", "independent", "gullible", "two_stage")
ARMS |= {schedule: ["probes=none", *PAIRS, FIRST, f"schedule={schedule}"] for schedule in SCHEDULES}
VIEWS = {
    "mnist": "{_target_:RandomAffine,degrees:12,translate:[0.08,0.08],scale:[0.88,1.12],shear:8,interpolation:bilinear},"
    "{_target_:ElasticTransform,alpha:18,sigma:4}",
    "fashion_mnist": "{_target_:RandomAffine,degrees:5,translate:[0.07,0.07],scale:[0.92,1.08],interpolation:bilinear},"
    "RandomHorizontalFlip",
}
UNLABELLED = [
    "data.keep_unlabelled=true",
    "cache.answers=false",
]  # which the lone mentee leaves out, of its batches too
NETWORK = ["mentee.network.widths=[16,32,32]", "mentee.network.pool=before", "mentee.network.flatten=28"]
BASE = ["trainer.max_epochs=2", "trainer.steps_per_epoch=150", "trainer.batch=64", "trainer.learning_rate=6e-3"]
MACHINE = ["threads=1", "accelerator=cpu"]


def conditions(data: str) -> dict[str, list[str]]:
    augmented = [f"trainer.augment.transforms=[{VIEWS[data]}]"]
    return {
        "no augmentation": [],
        "augmented": [*augmented, "trainer.augment.views=64"],
        "augmented, + unlabelled": [*augmented, *UNLABELLED],
        "augmented, + unlabelled, 1000 steps": [*augmented, *UNLABELLED, "trainer.steps_per_epoch=500"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.labels.budgets")
    parser.add_argument("data", choices=list(VIEWS))
    parser.add_argument("root", help="the folder that holds MNIST/raw or FashionMNIST/raw")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--labels", type=int, nargs="+", default=[10, 50, 100])
    parser.add_argument("--conditions", nargs="+", type=int, default=[0, 1], help="by number, from 0")
    parser.add_argument("--only", nargs="+", default=["alone", "RMSE", "KD", "both"], choices=list(ARMS), metavar="ARM")
    parser.add_argument("--mentor", help="of configs/mentor; by default a net as deep as the mentee")
    parser.add_argument("--out", type=Path, default=Path("runs/budgets"))
    given, overrides = parser.parse_known_args()
    shared = [
        f"data={given.data}",
        f"data.root={given.root}",
        f"mentor={given.mentor or given.data.split('_')[0] + '_plain'}",
    ]
    shared += [*BASE, *NETWORK, *MACHINE, *overrides]
    machine = Machine("cpu", 1, Console(quiet=True))
    config = compose("distill", DistillConfig, [*shared, "run_dir=unused"])
    mentor = find_mentor(config.mentor, load_data(config.data, whole=True), Path(config.cache_dir), machine)
    rows = []
    for number, (condition, extra) in enumerate(conditions(given.data).items()):
        for p in given.labels if number in given.conditions else []:
            found = {}
            for arm in given.only:
                settings = [*shared, *extra, *ARMS[arm], f"data.labels_per_class={p}"]
                folder = given.out / given.data / condition / str(p) / arm
                found[arm] = [
                    run([*settings, f"data.budget_seed={seed}"], folder / str(seed), seed, mentor, machine)
                    for seed in range(1, given.seeds + 1)
                ]
                rows.append([condition, str(p), arm, *shown(found[arm], found.get("alone"))])
                print(*rows[-1], sep=" | ", flush=True)
    header = ["condition", "labels a class", "arm", "test accuracy", "against alone"]
    record = found[arm][0].record
    notes = [
        f"mentor {record.mentor_scores['accuracy']:.2%}, {record.parameters:,} parameters, n = {given.seeds} seeds"
    ]
    Table(f"{given.data}: test accuracy at the last step", header, rows, notes).print(Console(width=130))


def run(settings: list[str], folder: Path, seed: int, mentor: FoundMentor, machine: Machine) -> Scored:
    if not (folder / RECORD).is_file():
        given = [*settings, f"seed={seed}", f"run_dir='{folder}'"]
        distill(compose("distill", DistillConfig, given), machine, mentor=mentor)
        (folder / "last.ckpt").unlink()
    record = RunRecord.load(folder)
    return Scored(str(folder), record, record.scores)


def shown(runs: list[Scored], lone: list[Scored] | None) -> list[str]:
    unit = UNITS["accuracy"]
    accuracy = Spread.of([one.scores["accuracy"] for one in runs]).shown(unit)
    if lone is None or lone is runs:
        return [accuracy, ""]
    pairs = pairs_by_seed(runs, lone)
    gain = Difference.of([one.scores["accuracy"] for one, _ in pairs], [other.scores["accuracy"] for _, other in pairs])
    return [accuracy, gain.shown(unit)]


if __name__ == "__main__":
    main()
