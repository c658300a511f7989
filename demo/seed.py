"""One seed of the demo: the same mentee alone, under the mentor, and under the mentor with unlabelled images as well;
the last one then learns on its owner's device, with and without replay and the mentor."""

import hashlib
import json
import shutil
import statistics
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

import demo
import distill
import export
import mentee
import mentor
import mentor_mentee
from demo.device import device, write_samples
from demo.owner import People
from distill.evaluate.evaluation import evaluate
from distill.handover import RunResult
from distill.machine import Machine
from distill.mentors.find import FoundMentor
from distill.run import ALONE
from distill.run import distill as run_distillation
from distill.schema import DistillConfig
from export.bundle.write import export_bundle
from export.schema import ExportSettings
from mentor_mentee.data.load import load_data
from mentor_mentee.data.view import View
from mentor_mentee.files import write_json

LEARNING = {"steps": 100, "batch": 16, "replay_batch": 16, "replay": "mentor"}  # on the device
ON_DEVICE: dict[str, dict[str, float]] = {
    "device": {},  # replayed samples with the mentor's answers, as the bundle's knobs say
    "device_replay_only": {"beta": 0, "gamma": 0},  # the same samples with their labels alone: what the mentor adds
    "device_owner_only": {"replay_batch": 0},
}


@dataclass(frozen=True)
class Outcome:
    """All figures of one seed; accuracies by arm, each {"owner", "everybody"}, from 0 to 1."""

    accuracy: dict[str, dict[str, float]]
    milliseconds: dict[str, float]  # per training step
    parameters: int
    bundle_bytes: int
    peak_rss_mb: float
    histories: dict[str, list[dict[str, float]]]
    confusion: dict[str, list[list[int]]]
    probes: int
    parity: dict[str, Any]


def run_seed(
    config: DistillConfig, mentor_found: FoundMentor, people: People, folder: Path, python: Path, machine: Machine
) -> Outcome:
    """Trains what was not trained before with this very code and configuration; the device learns anew each time."""
    console = machine.console
    key = content_key(config, mentor_found)
    kept = folder / "server.json"
    if (
        kept.is_file()
        and json.loads(kept.read_text()).get("key") == key
        and (folder / "bundle" / "manifest.json").is_file()
    ):
        console.print(f"seed {config.seed}: mentees and bundle are kept from an earlier run", highlight=False)
    else:
        write_json(kept, {"key": key, **on_the_server(config, mentor_found, people, folder, machine)})
    server: dict[str, Any] = json.loads(kept.read_text())
    return Outcome(**on_the_device(server, people, folder, python, config.seed, console))


def on_the_server(
    config: DistillConfig, mentor_found: FoundMentor, people: People, folder: Path, machine: Machine
) -> dict[str, Any]:
    labelled_only = {**config.data, "keep_unlabelled": False}
    arms = {
        "alone": replace(config, schedule=ALONE, data=labelled_only),
        "same_images": replace(config, data=labelled_only),
        "supervised": config,
    }
    results: dict[str, RunResult] = {}
    accuracy, milliseconds = {}, {}
    for arm, settings in arms.items():
        title = f"seed {config.seed}, {arm.replace('_', ' ')}"
        result = run_distillation(replace(settings, run_dir=str(folder / arm)), machine, title, mentor_found)
        network, view = result.checkpoint.network(), result.checkpoint.view
        accuracy[arm] = judged(network, view, people, len(result.splits.classes))
        milliseconds[arm] = statistics.median(row["ms_per_step"] for row in result.history)
        results[arm] = result
    supervised = results["supervised"]
    machine.console.print(f"seed {config.seed}: exporting, and comparing ONNX Runtime with torch", highlight=False)
    exported = export_bundle(supervised.checkpoint, folder / "bundle", ExportSettings(overwrite=True))
    return {
        "accuracy": accuracy,
        "milliseconds": milliseconds,
        "parameters": supervised.mentee_parameters,
        "histories": {arm: result.history for arm, result in results.items()},
        "confusion": {
            "mentor": supervised.mentor.confusion_KK.tolist(),
            "mentee": supervised.mentee.confusion_KK.tolist(),
        },
        "probes": len(supervised.checkpoint.probes),
        "parity": exported.parity,
        "bundle_bytes": sum(entry["bytes"] for entry in exported.manifest["files"].values()),
    }


def judged(network: torch.nn.Module, view: View, people: People, classes: int) -> dict[str, float]:
    return {
        "owner": evaluate(lambda image: network(view(image)), people.held_out, classes).accuracy,
        "everybody": evaluate(lambda image: network(view(image)), people.everybody, classes).accuracy,
    }


def on_the_device(
    server: dict[str, Any], people: People, folder: Path, python: Path, seed: int, console: Console
) -> dict[str, Any]:
    bundle, states = folder / "bundle", folder / "device"
    shutil.rmtree(states, ignore_errors=True)
    learn = write_samples(people.learn, states / "learn.npz")
    parts = {
        "owner": write_samples(people.held_out, states / "held_out.npz"),
        "everybody": write_samples(people.everybody, states / "everybody.npz"),
    }
    accuracy, milliseconds = dict(server["accuracy"]), dict(server["milliseconds"])
    peak = 0.0
    for arm, options in ON_DEVICE.items():
        what = arm.replace("_", " ")
        console.print(f"seed {seed}: {what}, {LEARNING['steps']} steps in its own process", highlight=False)
        state = states / arm
        device(python, "settings", bundle, state=state, set="golden_drop=1")  # shows also what the guard would refuse
        learned = device(python, "learn", bundle, state=state, data=learn, seed=seed, **{**LEARNING, **options})
        milliseconds[arm] = learned["ms_per_step"]
        accuracy[arm] = {
            who: device(python, "evaluate", bundle, state=state, data=path)["accuracy"] for who, path in parts.items()
        }
        peak = max(peak, learned["peak_rss_mb"])
    untouched = {who: device(python, "evaluate", bundle, data=path)["accuracy"] for who, path in parts.items()}
    accuracy["exported"] = untouched
    content = {key: value for key, value in server.items() if key != "key"}
    return {**content, "accuracy": accuracy, "milliseconds": milliseconds, "peak_rss_mb": peak}


def content_key(config: DistillConfig, mentor_found: FoundMentor) -> str:
    """Of the configuration, the mentor, the data and every line of the code that makes these figures."""
    digest = hashlib.sha256(repr(asdict(config)).encode())
    digest.update(mentor_found.weights.read_bytes())
    digest.update(load_data(config.data).train.fingerprint().encode())
    digest.update(torch.__version__.encode())
    for package in (mentor_mentee, mentor, mentee, distill, export, demo):
        for source in sorted(Path(next(iter(package.__path__))).rglob("*.py")):
            digest.update(source.read_bytes())
    return digest.hexdigest()
