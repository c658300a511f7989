"""Runs the arms on one source of people over seeds, and merges their figures into a JSON file by arm and seed."""

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.app import Error, Message
from mentee_device import Bundle, Learner

from benchmarks.fleet.arms import Arm, Arms
from benchmarks.fleet.base import make_base
from benchmarks.fleet.people import Source
from benchmarks.personal.figures import spread
from export.bundle.prepare import on_device
from export.bundle.verify import settings as export_settings
from fleet.release.networks import distilled
from fleet.server.settings import FleetSettings
from fleet.wire.arrays import record_of
from fleet.wire.terms import ARRAYS
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.files import write_json

MADE: dict[str, Callable[[Arms], Arm]] = {
    "untouched": lambda arms: arms.untouched(),
    "alone": lambda arms: arms.alone(),
    "alone-no-mentor": lambda arms: arms.alone("alone-no-mentor", replay_batch=0),
    "central": lambda arms: arms.central(),
    "fedavg": lambda arms: arms.together("fedavg"),
    "fedavg-no-mentor": lambda arms: arms.together("fedavg-no-mentor", replay_batch=0),
    "fedavg-head": lambda arms: arms.together("fedavg-head", shared="body"),
    "fedprox": lambda arms: arms.together("fedprox", strategy="fedprox", proximal_mu=1.0),
    "fedprox-head": lambda arms: arms.together("fedprox-head", strategy="fedprox", proximal_mu=1.0, shared="body"),
    "distil": lambda arms: arms.together("distil", mode="distil", ask=100),
    "fedavg-failing": lambda arms: arms.together("fedavg-failing", trouble(arms, 0.3, 0.0)),
    "fedavg-poisoned": lambda arms: arms.together("fedavg-poisoned", trouble(arms, 0.3, 0.2)),
    "fedavg-screened-poisoned": lambda arms: arms.together(
        "fedavg-screened-poisoned",
        trouble(arms, 0.3, 0.2),
        golden_drop=FleetSettings.golden_drop,
        reply_drop=FleetSettings.reply_drop,
    ),
    "trimmed-poisoned": lambda arms: arms.together(
        "trimmed-poisoned", trouble(arms, 0.3, 0.2), strategy="trimmed-mean", trim=0.3
    ),
    "median-poisoned": lambda arms: arms.together("median-poisoned", trouble(arms, 0.3, 0.2), strategy="median"),
    "multi-krum-poisoned": lambda arms: arms.together(
        "multi-krum-poisoned", trouble(arms, 0.3, 0.2), strategy="multi-krum", poisoned=4
    ),
    "noise-1": lambda arms: arms.together(
        "noise-1", noise=1.0, clip=0.5, delta=1e-3, min_devices=len(arms.people.learn)
    ),
    "noise-0.3": lambda arms: arms.together(
        "noise-0.3", noise=0.3, clip=0.5, delta=1e-3, min_devices=len(arms.people.learn)
    ),
}


def trouble(arms: Arms, failing: float, poisoned: float) -> Callable[[int, Message], Message | None]:
    """Lets devices fail in each round; the first `poisoned` share of all always sends the base less ten times its way."""
    random, liars = np.random.default_rng(0), range(round(poisoned * len(arms.people.learn)))
    with Bundle.open(arms.base) as bundle, Learner(bundle) as learner:
        base = learner.parameters()

    def tamper(number: int, reply: Message) -> Message | None:
        if reply.has_error() or not reply.content.array_records:
            return reply
        if random.random() < failing:
            return Message(Error(2, "it fails"), reply_to=reply)
        if number in liars:
            arrays = {name: one.numpy() for name, one in reply.content.array_records[ARRAYS].items()}
            reply.content[ARRAYS] = record_of({name: 11 * base[name] - 10 * value for name, value in arrays.items()})
        return reply

    return tamper


def servers_mentee(arms: Arms, checkpoint: MenteeCheckpoint, arm: Arm) -> dict[str, float]:
    """Under distillation the server's own mentee, distilled from the average, judged as the others are."""
    assert arm.result is not None
    with Bundle.open(arms.base) as bundle, Learner(bundle) as learner:
        settings = export_settings(json.loads((arms.base / "manifest.json").read_bytes())["settings"])
        made = distilled(checkpoint, settings, bundle, arm.result.arrays, arms.folder / "server")
        network = on_device(made, settings).network
        learner.set_parameters({name: value.detach().numpy() for name, value in network.named_parameters()})
        owner = [learner.evaluate(one.input, one.labels) for one in arms.people.test]
        everybody = learner.evaluate(arms.people.everybody.input, arms.people.everybody.labels)
    return {"owner": float(np.mean(owner)), "everybody": everybody, "bytes": arm.bytes}


def compare(source: Source, name: str, doc: str | None) -> None:
    """The command line of a comparison: `name` of its module, and its docstring."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.fleet.{name}", description=(doc or "").partition("\n")[0]
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path(f"{name}.json"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--arms", nargs="+", choices=list(MADE), default=list(MADE))
    parser.add_argument("--public", type=int, default=30, help="public samples of each class (%(default)s)")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--settings", type=json.loads, default={}, help="of the server, for all arms, as JSON")
    given = parser.parse_args()
    logging.getLogger("flwr").setLevel("ERROR")
    torch.set_num_threads(1)
    figures: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}
    for seed in given.seeds:
        people = source.people(given.data, seed)
        with tempfile.TemporaryDirectory() as scratch:
            checkpoint = make_base(source, people.server, Path(scratch), seed, given.public)
            arms = Arms(
                people, Path(scratch) / "base", Path(scratch) / "states", given.rounds, given.steps, given.settings
            )
            for arm in given.arms:
                started = time.perf_counter()
                found = figures_of(arms, arm, checkpoint)
                for row, values in found.items():
                    figures.setdefault(row, {})[str(seed)] = values
                write_json(given.out, figures)
                for row, values in found.items():
                    print(seed, row, values, f"{time.perf_counter() - started:.0f} s", flush=True)
    print(table(figures))


def table(figures: dict[str, dict[str, dict[str, float]]]) -> str:
    """Markdown: mean ± std over the seeds of each row, in percent; the last column in points, over seeds that both have."""
    lines = [
        "| arm | seeds | owner, % | everybody, % | bytes | everybody, against central |",
        "|---|---|---|---|---|---|",
    ]
    central = figures.get("central", {})
    for row, runs in figures.items():
        owner, everybody = ([100 * run[whose] for run in runs.values()] for whose in ("owner", "everybody"))
        against = [100 * (runs[seed]["everybody"] - central[seed]["everybody"]) for seed in runs if seed in central]
        cells = [row, str(len(runs)), spread(owner, ".1f"), spread(everybody, ".1f")]
        cells += [
            f"{np.mean([run['bytes'] for run in runs.values()]):,.0f}",
            spread(against, "+.1f") if against else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def figures_of(arms: Arms, name: str, checkpoint: MenteeCheckpoint) -> dict[str, dict[str, float]]:
    """The rows of an arm: its own, and under distillation the server's mentee's."""
    arm = MADE[name](arms)
    rows = {name: {"owner": arm.owner, "everybody": arm.everybody, "bytes": arm.bytes}}
    if name == "distil":
        rows["distil-server"] = servers_mentee(arms, checkpoint, arm)
    if arm.result is not None:
        rows[name] |= arm.result.about.get("privacy", {})
    return rows
