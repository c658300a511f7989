"""One distillation run: prepare, train, hand over."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from distill.curves import Schedule, read_schedule
from distill.exportable import EarlyWarning
from distill.handover import RunResult, hand_over
from distill.machine import Machine, is_first
from distill.mentors.doubts import outdone
from distill.mentors.find import FoundMentor
from distill.mentors.probe_options import read_probes
from distill.prepare import Prepared, prepare
from distill.run_folder import CHECKPOINT, PROBES, RECORD
from distill.schema import DistillConfig
from distill.training.class_weights import class_weights
from mentor_mentee.files import write_json
from mentor_mentee.objective.loss_spec import LossSpec
from mentor_mentee.progress import reporting
from mentor_mentee.recipe import recipe_identity

if TYPE_CHECKING:
    from distill.training.callbacks.own import Own
    from distill.training.callbacks.shown import Fitted

ALONE = {"_target_": "distill.schedules.constant", "alpha": 1.0, "beta": 0.0, "gamma": 0.0, "temperature": 1.0}


def distill(
    config: DistillConfig,
    machine: Machine | None = None,
    title: str = "mentee",
    mentor: FoundMentor | None = None,
    on_start: Callable[[Schedule], None] | None = None,
    warning: EarlyWarning | None = None,
) -> RunResult:
    """Runs the configuration and leaves `mentee.safetensors`, `history.json`, `probes.json`, `run.json` and `last.ckpt` in its
    run folder.

    A schedule that never listens to a mentor (β = γ = 0) neither finds nor asks one; one that is given is compared with all the
    same. `machine`: by default what the configuration names. `mentor` saves finding it again where several runs share one;
    `on_start` is called once nothing but the steps can fail any more, a resumed run's settings included; `warning` says
    before any training whether the mentee will export. Raises `UserError` before the first step for all that can be known
    by then, and for a loss that is not finite.
    """
    machine = machine or Machine(config.accelerator, config.threads)
    with reporting(machine.say):
        run, fitted = trained(config, machine, title, mentor, on_start, warning)
        result = hand_over(run, fitted)
    accuracy = result.checkpoint.accuracy["val"]
    if (
        run.found is not None
        and run.schedule.supervised()
        and (doubt := outdone(run.found.val_accuracy, accuracy["accuracy"], int(accuracy["samples"])))
    ):
        machine.say(doubt)
    return result


def take_part(config: DistillConfig, machine: Machine) -> None:
    """Does the work of one process of several that were started from outside, but the first: trains, and writes nothing."""
    with reporting(machine.say):
        trained(config, machine)


def trained(
    config: DistillConfig,
    machine: Machine,
    title: str = "mentee",
    mentor: FoundMentor | None = None,
    on_start: Callable[[Schedule], None] | None = None,
    warning: EarlyWarning | None = None,
) -> tuple[Prepared, "Fitted"]:
    from distill.training.callbacks.own import build_own  # Lightning takes seconds to import
    from distill.training.trainer import require_trainer

    require_trainer(config.trainer, "trainer", machine)
    own = build_own(config, LossSpec(**asdict(config.loss)))
    schedule = read_schedule(config.schedule, layers=read_probes(config.probes).wanted)
    run = prepare(config, schedule, machine, mentor, warning)
    machine.say(f"{title}: {run.schedule.summary()}")
    return run, train(run, machine, title, own, on_start)


def train(
    run: Prepared, machine: Machine, title: str, own: "Own", on_start: Callable[[Schedule], None] | None = None
) -> "Fitted":
    """Trains the prepared mentee in place, over all steps unless a callback ends it before."""
    from distill.training.fit import fit
    from distill.training.module import Distillation
    from distill.training.resume import SOURCE

    config, run_dir = run.config, Path(run.config.run_dir)
    module = Distillation(
        run.probed,
        run.mentee.view,
        run.schedule,
        fit=config.trainer,
        seed=config.seed,
        mentor=run.mentor,
        loss=run.loss,
        caches=run.caches,
        class_weights=class_weights(config.trainer, run.splits, "trainer"),
    )
    module.shard_mentor = config.mentor.shard and run.schedule.supervised()
    module.callbacks_recipe = str(config.callbacks)
    module.recipe = f"{run.mentee.recipe}{SOURCE}{recipe_identity(run.mentee.recipe, 'mentee.network')[:12]}"

    def accepted() -> None:
        if on_start is not None:
            on_start(run.schedule)

    if not config.resume and is_first():
        accepted()
        if (run_dir / RECORD).is_file():
            machine.say(f"{run_dir} holds a finished run: its files are overwritten")
        (run_dir / RECORD).unlink(missing_ok=True)  # of a run before: if this one dies, it must not speak for it
        run_dir.mkdir(parents=True, exist_ok=True)
        write_json(run_dir / PROBES, [one.as_json() for one in run.probes])
    when_resumed = accepted if config.resume and is_first() else None
    checkpoint = run_dir / CHECKPOINT
    return fit(module, run.splits, title, machine, checkpoint, config.resume, when_resumed, own.callbacks, own.loggers)


def alone(config: DistillConfig, run_dir: str) -> DistillConfig:
    """The same run without a mentor: same network, data, seed and steps, α 1, β 0, γ 0."""
    return replace(config, schedule=ALONE, run_dir=run_dir)
