"""Tests the trained mentee and its mentor, and hands the mentee over to the export."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from distill.curves import Schedule
from distill.evaluate.evaluation import Evaluation, evaluate, judged, scores
from distill.mentors.find import FoundMentor
from distill.prepare import Prepared
from distill.report.record import RunRecord, settings
from distill.run_folder import CARD, HISTORY, MENTEE, PROBES, RECORD
from distill.schema import DistillConfig
from mentee.checkpoint import LastKnobs, MenteeCheckpoint
from mentee.networks import parameter_count
from mentor.cache.answers import cached_logits
from mentor.precisions import FULL
from mentor.weights.file import file_digest
from mentor_mentee.data.splits import Splits
from mentor_mentee.files import write_bytes, write_json

if TYPE_CHECKING:
    from distill.training.callbacks.shown import Fitted

History = list[dict[str, float]]  # a row an epoch


@dataclass(frozen=True)
class RunResult:
    checkpoint: MenteeCheckpoint
    checkpoint_path: Path
    history: History
    mentee: Evaluation  # on the test split
    mentor: Evaluation | None  # None where the run had none
    mentor_parameters: int
    mentee_parameters: int
    mentor_origin: str
    splits: Splits
    schedule: Schedule


def hand_over(run: Prepared, fitted: "Fitted") -> RunResult:
    """Tests the trained networks and writes the run's files: the mentee's checkpoint, its history, its probes, its record."""
    network, view, splits = run.mentee.network.cpu(), run.mentee.view, run.splits
    network.eval()  # not what it returns: a train() of its own may return nothing
    if run.mentor is not None:
        run.mentor.to(torch.device("cpu"))
    mentee = evaluate(lambda image: network(view(image)), splits.test, len(splits.classes))
    mentor = None
    if run.found is not None:
        known_NK = cached_logits(run.found.mentor(), splits.test, Path(run.config.cache_dir) / "answers")
        mentor = judged(known_NK, splits.test, len(splits.classes))
    checkpoint = checkpoint_of(run, fitted, mentee, None if mentor is None else mentor.accuracy)
    run_dir = Path(run.config.run_dir)
    checkpoint.save(run_dir / MENTEE)
    write_bytes(run_dir / CARD, checkpoint.card().encode())
    write_json(run_dir / HISTORY, fitted.history)
    write_json(run_dir / PROBES, [one.as_json() for one in run.probes])
    result = RunResult(
        checkpoint=checkpoint,
        checkpoint_path=run_dir / MENTEE,
        history=fitted.history,
        mentee=mentee,
        mentor=mentor,
        mentor_parameters=0 if run.found is None else parameter_count(run.found.network),
        mentee_parameters=parameter_count(network),
        mentor_origin="no mentor" if run.found is None else run.found.origin,
        splits=splits,
        schedule=run.schedule,
    )
    write_json(run_dir / RECORD, asdict(record_of(result, run.config)))
    return result


def checkpoint_of(run: Prepared, fitted: "Fitted", seen: Evaluation, mentor_accuracy: float | None) -> MenteeCheckpoint:
    labels = run.splits.train.labels
    labelled = int((labels >= 0).sum())
    return MenteeCheckpoint(
        recipe=run.mentee.recipe,
        state=run.mentee.network.state_dict(),
        head=run.mentee.head,
        view=run.mentee.view,
        classes=run.splits.classes,
        probes=tuple(run.probed.learned_probes()),
        mentor=None if run.found is None else described(run.found),
        data=placed(run.config.data),
        loss=run.loss,
        knobs=last_knobs(run.schedule),
        accuracy={
            "val": {"accuracy": fitted.row.get("val_accuracy", float("nan")), "samples": len(run.splits.val)},
            "test": {"accuracy": seen.accuracy, "samples": seen.samples},
        },
        shown=fitted.shown,
        run=run_facts(
            run.schedule,
            parameters=parameter_count(run.mentee.network),
            steps=int(fitted.history[-1]["step"]),
            seed=run.config.seed,
            samples=f"{labelled:,} labelled, {len(labels) - labelled:,} unlabelled",
            mentor_test_accuracy=mentor_accuracy,
            **({"mentor": "none"} if run.found is None else {}),
        ),
    )


def described(found: FoundMentor) -> dict[str, Any]:
    return {
        "network": found.recipe,
        "weights": str(found.weights.absolute()),
        "sha256": file_digest(found.weights),
        "weights_at": found.weights_at,
        "view": asdict(found.view),
        "val_accuracy": found.val_accuracy,
        **({} if found.precision == FULL else {"precision": found.precision}),
    }


def run_facts(schedule: Schedule, **facts: Any) -> dict[str, Any]:
    """Facts on a training for the model card of its mentee."""
    versions = {name: installed(name) for name in ("mentor-mentee", "torch", "pytorch-lightning")}
    return {"schedule": schedule.summary(), **facts, "versions": {name: one for name, one in versions.items() if one}}


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # run from a folder
        return None


def last_knobs(schedule: Schedule) -> LastKnobs:
    highest = max(value for _, value in schedule.gamma)
    return LastKnobs(**vars(schedule.at(1)), highest_gamma=highest, in_units=schedule.in_units)


def placed(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The data's recipe with absolute paths: the checkpoint may be exported from another folder."""

    def is_path(name: str, value: Any) -> bool:  # `unlabelled` may be the name of an array instead
        return name in ("root", "path") or (name == "unlabelled" and str(value).endswith((".npz", ".safetensors")))

    return {
        name: str(Path(value).expanduser().absolute()) if is_path(name, value) else value
        for name, value in recipe.items()
    }


def record_of(result: RunResult, config: DistillConfig) -> RunRecord:
    train = result.splits.train
    labelled = train.labels >= 0
    return RunRecord(
        seed=config.seed,
        steps=int(result.history[-1]["step"]),
        lone=not result.schedule.supervised(),
        labelled=train.subset(torch.nonzero(labelled).flatten()).fingerprint(),
        labelled_samples=int(labelled.sum()),
        unlabelled_samples=int((~labelled).sum()),
        test=result.splits.test.fingerprint(),
        shown=result.checkpoint.shown,
        val_accuracy=None if isnan(accuracy := result.checkpoint.accuracy["val"]["accuracy"]) else accuracy,
        scores=scores(result.mentee, result.mentor),
        mentor_scores={} if result.mentor is None else scores(result.mentor),
        parameters=result.mentee_parameters,
        mentor_parameters=result.mentor_parameters,
        config=settings(config),
    )
