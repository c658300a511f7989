"""The demo's mentees: one network trained alone, under its mentor's softmax, and under its layers as well."""

import hashlib
import statistics
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from rich.console import Console

import demo
import distill
import export
import mentee
import mentor
import mentor_mentee
from demo.cache import cached_json, save_json
from demo.owner import People
from distill.evaluate.evaluation import evaluate
from distill.machine import Machine
from distill.mentors.find import FoundMentor
from distill.run import ALONE
from distill.run import distill as run_distillation
from distill.schema import DistillConfig
from mentor_mentee.data.load import load_data
from mentor_mentee.data.views.view import View

CHECKPOINT = "mentee.safetensors"
FIGURES = "figures.json"  # in a mentee's run folder, written last
EXPORTED = "layers_unlabelled"  # the arm that goes to the device


@dataclass(frozen=True)
class TrainedMentee:
    """The figures of one run; accuracies from 0 to 1 by {"owner", "everybody"}, history a row an epoch."""

    accuracy: dict[str, float]
    milliseconds: float  # per training step
    history: list[dict[str, float]]
    confusion: dict[str, list[list[int]]]  # on the test split, of "mentor" and "mentee"
    parameters: int
    probes: int


def arms(config: DistillConfig) -> dict[str, DistillConfig]:
    """The same network, seed and number of steps; what differs is what it learns from."""
    labelled = replace(config, data={**config.data, "keep_unlabelled": False})
    chosen = {
        "alone": replace(labelled, schedule=ALONE),
        "softmax": replace(labelled, probes={}),
        "layers": labelled,
        "softmax_unlabelled": replace(config, probes={}),
        EXPORTED: config,
    }
    return {arm: replace(settings, run_dir=str(Path(config.run_dir) / arm)) for arm, settings in chosen.items()}


def train(config: DistillConfig, found: FoundMentor, people: People, key: str) -> TrainedMentee:
    """Trains one mentee, and leaves its figures under `key` for the next run. Prints nothing: others run beside it."""
    # one thread: nets this small gain nothing from two, and the table is then the same on every run
    machine = Machine(accelerator="cpu", threads=1, console=Console(quiet=True))
    result = run_distillation(config, machine, mentor=found)
    assert result.mentor is not None  # it was given
    trained = TrainedMentee(
        judged(result.checkpoint.network(), result.checkpoint.view, people, len(result.splits.classes)),
        statistics.median(row["ms_per_step"] for row in result.history),
        result.history,
        {"mentor": result.mentor.confusion_KK.tolist(), "mentee": result.mentee.confusion_KK.tolist()},
        result.mentee_parameters,
        len(result.checkpoint.probes),
    )
    save_json(Path(config.run_dir) / FIGURES, key, asdict(trained))
    return trained


def cached(config: DistillConfig, key: str) -> TrainedMentee | None:
    """Result of an earlier run with this very code and configuration, unless its checkpoint is gone."""
    folder = Path(config.run_dir)
    content = cached_json(folder / FIGURES, key) if (folder / CHECKPOINT).is_file() else None
    return None if content is None else TrainedMentee(**content)


def judged(network: torch.nn.Module, view: View, people: People, classes: int) -> dict[str, float]:
    """The accuracy on what nobody was trained on, by whose it is."""
    return {
        "owner": evaluate(lambda image: network(view(image)), people.held_out, classes).accuracy,
        "everybody": evaluate(lambda image: network(view(image)), people.everybody, classes).accuracy,
    }


def figures_key(found: FoundMentor, config: DistillConfig) -> str:
    """A hash of the mentor, the data and every line of the code that makes these figures; settings are added to it."""
    digest = hashlib.sha256(found.weights.read_bytes())
    digest.update(load_data(config.data).train.fingerprint().encode())
    digest.update(torch.__version__.encode())
    for package in (mentor_mentee, mentor, mentee, distill, export, demo):
        for source in sorted(Path(next(iter(package.__path__))).rglob("*.py")):
            digest.update(source.read_bytes())
    return digest.hexdigest()
