"""Personalisation: what a new owner gains on the device and what everybody else loses by it, one owner left out at a time.

    python -m benchmarks.personal.people.spoken_digits DATA_ROOT/fsdd.npz runs/personalise/digits.npz
    python -m benchmarks.personal.personalise runs/personalise/digits.npz [--owners theo …] [--labels 0 1 3 5]
        [--draws 0 1 2] [--arms …]

For each owner: mentor and mentee are trained on the others and exported (base.py); then each arm learns through the
device program, in a process without torch (.venv/device where `make env` has made that), from k labels a class and the owner's
unlabelled samples. What lies under --work is not made again; other overrides of the recipe want another folder. Ends in one
table (mean ± std over owners and draws, each run against the untouched mentee on the same test samples) and one plot there.
"""

import argparse
import json
import re
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from mentee_device import Samples
from safetensors.numpy import load_file, save_file

from benchmarks.device_process import told
from benchmarks.personal.arms import Arm, draw_owner
from benchmarks.personal.figures import Run, plot, table
from benchmarks.personal.files import Base

LEARNING = Arm(learning_rate=3e-3, shift=0.1, steps=240)
GUESSING = replace(LEARNING, steps=40, guessed_steps=40, rounds=5)  # 240 steps as well; 200 where there is no label
ARMS = {
    "the program's own learn": Arm(learning_rate=3e-3, program=True),
    **{
        f"the program's own learn, refused updates in part, golden_drop {drop}": Arm(
            learning_rate=3e-3, program=True, settings={"interpolate": True, "golden_drop": drop}
        )
        for drop in (0.01, 0.015, 0.02)
    },
    "replay, own frozen logits; clusters": replace(GUESSING, replay="own", guesses="clusters"),
    "replay, own frozen logits": replace(LEARNING, replay="own"),
    "replay, own frozen logits; self-training": replace(GUESSING, replay="own", guesses="self"),
    "replay, labels": replace(LEARNING, replay="labels"),
    "replay, mentor's logits": replace(LEARNING, replay="logits"),
    "replay, mentor's logits and layers": replace(LEARNING, replay="layers"),
    "replay, own frozen logits; mentor's hard labels": replace(GUESSING, replay="own", guesses="mentor"),
    "fine-tune all": LEARNING,
    "nearest class mean": replace(LEARNING, steps=0, nearest_mean=True),
    "head only": replace(LEARNING, trainable="head"),
    "replay, labels; clusters": replace(GUESSING, replay="labels", guesses="clusters"),
    "replay, mentor's logits; clusters": replace(GUESSING, replay="logits", guesses="clusters"),
    "replay, own frozen logits; adapted mentor's hard labels": replace(
        GUESSING, replay="own", guesses="adapted mentor"
    ),
}
OWN_KNOBS = replace(LEARNING, gamma=None, temperature=None)
BETAS = {  # not among the arms of a run without --arms: docs/experiments/device-knobs.md
    f"{guesses}replay, mentor's layers at beta {beta:g}": replace(arm, replay="layers", beta=beta)
    for guesses, arm in (
        ("", OWN_KNOBS),
        ("clusters; ", replace(OWN_KNOBS, steps=40, guesses="clusters", rounds=5)),
    )
    for beta in (0.0, 0.1, 1.0, 3.0, 10.0, 30.0)
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.personal.personalise")
    parser.add_argument("data", type=Path, help="npz with inputs, labels and an owner column")
    parser.add_argument("--column", default="owners", help="the array that says whose each sample is")
    parser.add_argument("--layout", default="NCL", help="of inputs, as data.layout")
    parser.add_argument("--owners", nargs="+", help="all by default")
    parser.add_argument("--labels", type=int, nargs="+", default=[0, 1, 3, 5], help="a class")
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2], help="their seeds")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=[*ARMS, *BETAS], metavar="ARM")
    parser.add_argument("--work", type=Path, default=Path("runs/personalise"))
    given, overrides = parser.parse_known_args()
    with np.load(given.data) as arrays:
        owners = given.owners or np.unique(arrays[given.column].astype(str)).tolist()
    bases = [Base(owner, given.work / owner) for owner in owners]
    for base in bases:
        if not (base.checkpoint.is_file() and base.samples.is_file()):
            from benchmarks.personal.base import make_base  # imports torch: not for stored results

            make_base(base, given.data, given.column, given.layout, overrides)
    runs: list[Run] = []
    for arm in given.arms:
        labels = [k for k in given.labels if k or {**ARMS, **BETAS}[arm].learns_unlabelled]
        for base in bases if labels else []:
            runs += run_arm(base, arm, labels, given.draws)
    text = table(runs, given.labels, given.arms)
    print(text)
    (given.work / "table.md").write_text(text + "\n")
    plot(runs, given.arms, given.work / "personalise.png")


def run_arm(base: Base, name: str, labels: list[int], draws: list[int]) -> list[Run]:
    """Results of one arm: read again where they are stored, else measured now by a device process."""
    arm = {**ARMS, **BETAS}[name]
    asked = {"arm": asdict(arm), "labels": labels, "draws": draws}
    stored = base.folder / "results" / f"{re.sub('[^a-z0-9]+', '-', name)}-{'_'.join(map(str, labels))}.json"
    found: dict[str, Any] = json.loads(stored.read_text()) if stored.is_file() else {}
    if found.get("asked") != asked:
        samples = with_adapted_mentor(base, labels, draws) if arm.guesses == "adapted mentor" else base.samples
        if not base.bundle(arm.trainable).is_dir():
            from benchmarks.personal.base import export

            export(base, arm.trainable)
        found = {"asked": asked, **device_process(base.bundle(arm.trainable), samples, arm, labels, draws)}
        stored.parent.mkdir(exist_ok=True)
        stored.write_text(json.dumps(found))
        print(f"{base.owner}: {name}", file=sys.stderr, flush=True)
    peak = found["peak_mib"]
    return [
        Run(base.owner, name, row["k"], row["draw"], row["before"], row["after"], row["seconds"], peak)
        for row in found["rows"]
    ]


def device_process(bundle: Path, samples: Path, arm: Arm, labels: list[int], draws: list[int]) -> dict[str, Any]:
    lists = [",".join(map(str, numbers)) for numbers in (labels, draws)]
    found: dict[str, Any] = told("benchmarks.personal.device", bundle, samples, json.dumps(asdict(arm)), *lists)
    if found.pop("torch"):
        raise RuntimeError("the device process imported torch")
    return found


def with_adapted_mentor(base: Base, labels: list[int], draws: list[int]) -> Path:
    """`base.samples` with the logits of a mentor adapted on each draw's labels: made on the server, which sees them for it."""
    columns = load_file(base.adapted if base.adapted.is_file() else base.samples)
    mine = Samples(columns["input"], columns["labels"])
    for k in labels:
        for draw in draws:
            name = f"adapted_k{k}_draw{draw}"
            if name not in columns:
                from benchmarks.personal.mentor import adapted_logits

                labelled = draw_owner(mine, {}, k, draw).labelled
                columns[name] = np.ascontiguousarray(adapted_logits(base, labelled, mine.input, draw))
    save_file(columns, base.adapted)
    return base.adapted


if __name__ == "__main__":
    main()
