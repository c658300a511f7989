"""`mentee-distill`: a command line becomes a typed configuration, and that a run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from rich.console import Console

from distill.check import check_networks, check_settings, require_files
from distill.curves import Schedule
from distill.machine import Machine, NamedConsole, is_first, keep_freed_memory
from distill.mentors.probe_options import OPTIONS
from distill.run_folder import CHECKPOINT
from distill.schema import DistillConfig
from mentor_mentee.config.command_line import run_cli, run_name
from mentor_mentee.config.settings_files import write_settings
from mentor_mentee.data.load import BUDGET_OPTIONS
from mentor_mentee.interrupt import while_importing

USAGE = """\
mentee-distill SETTING=VALUE …      distils one mentee; also python -m distill
mentee-distill -m seed=1,2,3 …      a sweep: a run for each combination, and one comparison of them all
mentee-distill -m hydra/launcher=joblib …   several runs at once; hydra/sweeper=optuna chooses the values
python -m distill.report.sweep FOLDER            compares the runs under a folder again
python -m mentor.ensemble OUT FIRST SECOND …     puts several networks' weights into one file, for mentor=ensemble
mentee-evaluate checkpoint=FILE …   scores finished mentees and compares them
--help SETTING=FILE …               shows the options of what is chosen: --help data=mnist schedule=obedient
--help=all, --help=trainer          shows every setting, or those of a group
"""
ESSENTIAL = (
    *("mentor.network", "mentor.weights", "mentor.transfer.epochs", "mentee.network", "mentee.budget.parameters"),
    *("data", "data.labels_per_class", "data.keep_unlabelled", "probes", "schedule", "schedule.strength"),
    *("schedule.gamma", "schedule.temperature", "trainer.max_epochs", "trainer.batch", "trainer.optimizer"),
    *("trainer.learning_rate", "trainer.augment.transforms", "trainer.keep", "trainer.workers", "trainer.precision"),
    *(
        "trainer.devices",
        "callbacks",
        "logger",
        "cache.answers",
        "seed",
        "resume",
        "run_dir",
        "cache_dir",
        "accelerator",
    ),
)


def main() -> None:
    run_cli("distill", DistillConfig, check, act, USAGE, {"data": BUDGET_OPTIONS, "probes": OPTIONS}, ESSENTIAL)


def check(config: Any) -> None:
    config = resumable(config)
    check_settings(config)
    require_files(config)
    check_networks(config)


def act(config: Any) -> float:
    return run(resumable(config))


def run(config: DistillConfig) -> float:
    """Distils, draws, prints. Returns the validation accuracy at the last step, for Hydra's sweepers."""
    keep_freed_memory()
    with while_importing():
        from distill.exportable import EarlyWarning  # torch takes seconds to import: only now
        from distill.present import present
        from distill.report.figures import draw_knobs
        from distill.run import distill, take_part

    if not is_first():
        take_part(config, Machine(config.accelerator, config.threads, Console(quiet=True)))
        return float("nan")
    report, name = Path(config.run_dir) / "report", run_name()

    def on_start(schedule: Schedule) -> None:
        write_settings()
        draw_knobs(schedule, config.trainer.max_epochs, report / "knobs.png")

    machine = Machine(config.accelerator, config.threads, NamedConsole(name))
    warning = None
    if config.preflight:
        warning = EarlyWarning(Path(config.cache_dir) / "preflight", machine.say, config.export)
    result = distill(config, machine, on_start=on_start, warning=warning)
    present(result, report, name)
    return result.checkpoint.accuracy["val"]["accuracy"]


def resumable(config: DistillConfig) -> DistillConfig:
    """Starts a run of a resumed sweep anew where it had not reached its first checkpoint."""
    sweep = HydraConfig.get().mode is RunMode.MULTIRUN
    return replace(config, resume=config.resume and not (sweep and not (Path(config.run_dir) / CHECKPOINT).is_file()))
