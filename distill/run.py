"""One distillation run: data, mentor, mentee, training, and the checkpoint that is handed over."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from distill.evaluate.evaluation import Evaluation, evaluate, judged, scores
from distill.mentors.find import FoundMentor, find_mentor
from distill.mentors.pairs import ChosenProbe, choose_probes, try_probes
from distill.mentors.probe_options import read_probes
from distill.report.record import NAME as RECORD
from distill.report.record import RunRecord, settings
from distill.schedules import Schedule
from distill.schema import CHECKPOINT, DistillConfig
from distill.training.answers import kept_answers, require_keepable
from distill.training.fit import Machine, fit, require_checkpoint
from distill.training.module import Distillation
from distill.training.networks import new_mentee
from mentee.checkpoint import MenteeCheckpoint
from mentee.networks import parameter_count
from mentor.cache import AnswerCache
from mentor.weights import file_digest
from mentor_mentee.data.load import load_data
from mentor_mentee.data.splits import Splits
from mentor_mentee.data.view import View
from mentor_mentee.errors import UserError
from mentor_mentee.files import write_json
from mentor_mentee.objective.loss_spec import LossSpec
from mentor_mentee.objective.probes import ProbedMentee
from mentor_mentee.recipe import build, recipe_identity

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
    config: DistillConfig,
    machine: Machine,
    title: str = "mentee",
    mentor: FoundMentor | None = None,
    on_start: Callable[[Schedule], None] | None = None,
) -> RunResult:
    """Runs the configuration and leaves `mentee.safetensors`, `history.json`, `probes.json`, `run.json` and `last.ckpt` in its
    run folder.

    `mentor` saves finding it again where several runs share one; `on_start` is called once nothing but the steps can fail
    any more. Raises `UserError` before the first step for all that can be known by then, and for a loss that is not finite.
    """
    run_dir = Path(config.run_dir)
    schedule, spec = effective_schedule(config), LossSpec(**asdict(config.loss))
    splits = teachable(load_data(config.data), schedule, machine)
    if config.resume:
        require_checkpoint(run_dir / CHECKPOINT)
    if schedule.supervised():
        require_keepable(config)

    torch.manual_seed(config.seed)
    mentee = new_mentee(config.mentee, splits, machine)
    network, view = mentee.network, mentee.view

    def try_on(untrained: nn.Module, its_view: View) -> None:
        if schedule.supervised():
            try_probes(config.probes, untrained, its_view, network, view, splits.train, spec)

    if mentor is None:
        with torch.random.fork_rng(devices=[]):  # a mentor that is trained now leaves the mentee what a kept one does
            whole = load_data(config.data, whole=True)
            mentor = find_mentor(config.mentor, whole, Path(config.cache_dir), machine, before_training=try_on)
    chosen: list[ChosenProbe] = []
    if schedule.supervised():
        chosen = choose_probes(config.probes, mentor, network, view, splits.train, machine, spec)
    probes = [one.probe for one in chosen]

    teacher = mentor.mentor(probes)
    student = ProbedMentee(network, probes, mentee.head)
    module = Distillation(student, view, schedule, config.trainer, config.seed, teacher, spec)
    module.recipe = f"{mentee.recipe}, of source {recipe_identity(mentee.recipe, 'mentee.network')[:12]}"
    if schedule.supervised():
        module.kept = kept_answers(config, teacher, splits, machine)
    machine.console.print(f"{title}: {schedule.summary()}", highlight=False, soft_wrap=True)
    if on_start is not None:
        on_start(schedule)
    if not config.resume:
        (run_dir / RECORD).unlink(missing_ok=True)  # of a run before: if this one dies, it must not speak for it
        run_dir.mkdir(parents=True, exist_ok=True)
        write_json(run_dir / "probes.json", [one.as_json() for one in chosen])
    history = fit(module, splits, title, machine, run_dir / CHECKPOINT, config.resume)

    network.eval().cpu()
    teacher.to(torch.device("cpu"))
    mentee_seen = evaluate(lambda image: network(view(image)), splits.test, len(splits.classes))
    known = AnswerCache(mentor.mentor(), splits.test, folder=Path(config.cache_dir) / "answers")
    mentor_seen = judged(known.view(0).logits, splits.test, len(splits.classes))
    val = history[-1].get("val_accuracy", float("nan"))
    checkpoint = MenteeCheckpoint(
        recipe=mentee.recipe,
        state=network.state_dict(),
        head=mentee.head,
        view=view,
        classes=splits.classes,
        probes=tuple(module.student.learned_probes()),
        mentor={
            "network": mentor.recipe,
            "weights": str(mentor.weights.absolute()),
            "sha256": file_digest(mentor.weights),
            "view": asdict(mentor.view),
            "val_accuracy": mentor.val_accuracy,
        },
        data=placed(config.data),
        loss=spec,
        accuracy={
            "val": {"accuracy": val, "samples": len(splits.val)},
            "test": {"accuracy": mentee_seen.accuracy, "samples": mentee_seen.samples},
        },
    )
    path = run_dir / "mentee.safetensors"
    checkpoint.save(path)
    write_json(run_dir / "history.json", history)
    write_json(run_dir / "probes.json", [one.as_json() for one in chosen])
    result = RunResult(
        checkpoint,
        path,
        history,
        mentee_seen,
        mentor_seen,
        parameter_count(mentor.network),
        parameter_count(network),
        mentor.origin,
        splits,
        schedule,
    )
    write_json(run_dir / RECORD, asdict(record_of(result, config)))
    return result


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
        val_accuracy=result.history[-1].get("val_accuracy"),
        scores=scores(result.mentee, result.mentor),
        mentor_scores=scores(result.mentor),
        parameters=result.mentee_parameters,
        mentor_parameters=result.mentor_parameters,
        config=settings(config),
    )


def teachable(splits: Splits, schedule: Schedule, machine: Machine) -> Splits:
    """Without the unlabelled samples where no mentor will ever answer for them: they would take the labelled ones' place in
    the batches. Raises `UserError` where none has a label and the mentor is silent for a part of the run."""
    labelled = splits.train.labels >= 0
    span = schedule.unsupervised_span()
    if span is not None and not bool(labelled.any()):
        when = "throughout" if span == (0, 1) else f"from {span[0]:.0%} to {span[1]:.0%} of the run"
        raise UserError(
            f"no training sample has a label, and the schedule has β = γ = 0 {when}, so nothing would be learnt; give "
            "labels (data.labels_per_class), or a schedule under the mentor"
        )
    if schedule.supervised() or bool(labelled.all()):
        return splits
    count = int((~labelled).sum())
    machine.console.print(
        f"{count:,} unlabelled samples are left out: β = γ = 0, nobody answers for them", highlight=False
    )
    return replace(splits, train=splits.train.subset(torch.nonzero(labelled).flatten()))


def placed(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """With absolute paths: the checkpoint may be exported from another folder. `unlabelled` need not be one."""

    def is_path(name: str, value: Any) -> bool:
        return name in ("root", "path") or (name == "unlabelled" and str(value).endswith((".npz", ".safetensors")))

    return {
        name: str(Path(value).expanduser().absolute()) if is_path(name, value) else value
        for name, value in recipe.items()
    }


def alone(config: DistillConfig, run_dir: str) -> DistillConfig:
    """The same run without a mentor: same network, data, seed and steps, α 1, β 0, γ 0."""
    return replace(config, schedule=ALONE, run_dir=run_dir)


def effective_schedule(config: DistillConfig) -> Schedule:
    """With β 0 where there is no layer to compare. Raises `UserError` where nothing at all would be learnt for a part of the
    run."""
    schedule, probes = make_schedule(config), read_probes(config.probes)
    layers = probes.search or probes.by_hand
    if not layers:
        schedule = replace(schedule, beta=((0.0, 0.0),))
    if (span := schedule.idle_span()) is not None:
        why = "" if layers else ", for probes=none leaves β no layer to compare"
        raise UserError(
            f"the schedule has α = β = γ = 0 from {span[0]:.0%} to {span[1]:.0%} of the run{why}, so nothing would be learnt; "
            f"choose another schedule{'' if layers else ' or probes'}"
        )
    return schedule


def make_schedule(config: DistillConfig) -> Schedule:
    schedule: Schedule = build(config.schedule, "schedule")
    return schedule
