"""One distillation run: data, mentor, mentee, training, and the checkpoint that is handed over."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from data.load import load_data
from data.recipe import build
from data.splits import Splits
from distill.evaluation import Evaluation, evaluate
from distill.fit import Machine, fit
from distill.mentors import FoundMentor, find_mentor
from distill.module import Distillation
from distill.networks import build_network, complete, view_for
from distill.pairs import layer_pairs
from distill.schedules import Schedule
from distill.schema import DistillConfig
from mentee.checkpoint import MenteeCheckpoint
from mentee.networks import parameter_count
from mentor.mentor import Mentor
from objective.probes import ProbedMentee, find_probes
from objective.taps import find_head

ALONE = {"_target_": "distill.schedules.constant", "alpha": 1.0, "beta": 0.0, "gamma": 0.0, "temperature": 1.0}


@dataclass(frozen=True)
class RunResult:
    checkpoint: MenteeCheckpoint
    checkpoint_path: Path
    history: list[dict[str, float]]  # a row an epoch
    mentee: Evaluation  # on the test split, at the last step
    mentor: Evaluation
    mentor_parameters: int
    mentee_parameters: int
    mentor_origin: str
    splits: Splits
    schedule: Schedule


def distill(
    config: DistillConfig, machine: Machine, title: str = "mentee", mentor: FoundMentor | None = None
) -> RunResult:
    """Runs the configuration and leaves `mentee.safetensors`, `history.json` and `last.ckpt` in its run folder.

    `mentor` saves finding it again where several runs share one. Raises `UserError` before the first step for all that can
    be known by then, and for a loss that is not finite.
    """
    run_dir = Path(config.run_dir)
    splits = load_data(config.data)
    schedule = make_schedule(config)
    found = mentor or find_mentor(config.mentor, load_data(config.data, whole=True), Path(config.cache_dir), machine)

    torch.manual_seed(config.seed)
    view = view_for(config.mentee.view, splits)
    recipe = complete(config.mentee.network, "mentee.network", splits, view)
    network = build_network(recipe, "mentee.network", splits, view)
    examples = splits.train.images[:2]
    head = config.mentee.head or find_head(network, view(examples))
    pairs = layer_pairs(config.probes, found, network, view, examples, machine)
    probes = find_probes(pairs, found.network, found.view(examples), network, view(examples))

    teacher = Mentor(found.network, found.view, probes)
    module = Distillation(ProbedMentee(network, probes, head), view, schedule, config.trainer, config.seed, teacher)
    history = fit(module, splits, title, machine, run_dir / "last.ckpt", config.resume)

    network.eval().cpu()
    teacher.to(torch.device("cpu"))
    mentee_seen = evaluate(lambda image: network(view(image)), splits.test, len(splits.classes))
    mentor_seen = evaluate(lambda image: teacher.answer(image).logits, splits.test, len(splits.classes))
    val = history[-1].get("val_accuracy", float("nan"))
    checkpoint = MenteeCheckpoint(
        recipe=recipe,
        state=network.state_dict(),
        head=head,
        view=view,
        classes=splits.classes,
        probes=tuple(probes),
        mentor={"network": found.recipe, "weights": str(found.weights.absolute()), "view": asdict(found.view)},
        data=placed(config.data),
        accuracy={
            "val": {"accuracy": val, "samples": len(splits.val)},
            "test": {"accuracy": mentee_seen.accuracy, "samples": mentee_seen.samples},
        },
    )
    path = run_dir / "mentee.safetensors"
    checkpoint.save(path)
    write_json(run_dir / "history.json", history)
    return RunResult(
        checkpoint,
        path,
        history,
        mentee_seen,
        mentor_seen,
        parameter_count(found.network),
        parameter_count(network),
        found.origin,
        splits,
        schedule,
    )


def placed(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """With an absolute `root`: the checkpoint may be exported from another folder."""
    return {
        name: str(Path(value).expanduser().absolute()) if name == "root" else value for name, value in recipe.items()
    }


def alone(config: DistillConfig, run_dir: str) -> DistillConfig:
    """The same run without a mentor: same network, data, seed and steps, α 1, β 0, γ 0."""
    return replace(config, schedule=ALONE, run_dir=run_dir)


def make_schedule(config: DistillConfig) -> Schedule:
    schedule: Schedule = build(config.schedule, "schedule")
    return schedule


def write_json(path: Path, content: Any) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(partial, path)
