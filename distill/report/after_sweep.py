"""A callback that Hydra calls around a sweep's runs. Imports no torch: Hydra makes it for `--help` as well."""

import logging
import os
import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from distill.machine import place
from distill.schema import DistillConfig
from mentor_mentee.config.command_line import mistakes_in_one_line, require_no_run_dir
from mentor_mentee.config.launched import FAILED, begun, forget_begun, note_begun
from mentor_mentee.errors import UserError

BEST = "optimization_results.yaml"  # which Optuna's sweeper writes


class CompareRuns(Callback):
    """Ends `python -m distill -m …` in one comparison (`distill.report.sweep`) in the sweep's folder: of its own runs, where an
    earlier sweep left others there. Ends the process with 2 where one of them failed, in whatever process.
    """

    def __init__(self) -> None:
        self.here: set[Path] = set()  # runs of this process

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        with mistakes_in_one_line(DistillConfig):
            require_no_run_dir(config)
            if (here := place()) is not None:
                raise UserError(
                    f"a sweep in {here.processes} processes of {here.starter}; expected one: start its runs one by one, or give "
                    "each to a launcher (hydra/launcher=submitit_slurm)"
                )
        forget_begun(Path(config.hydra.sweep.dir))
        hush(config.hydra.sweeper)

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        if config.hydra.mode is RunMode.MULTIRUN:
            folder = Path(config.hydra.runtime.output_dir).resolve()
            self.here.add(folder)
            note_begun(Path(config.hydra.sweep.dir), config.hydra.job.num, folder)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        from distill.report.sweep import compare_sweep

        sweep = Path(config.hydra.sweep.dir)
        try:
            with mistakes_in_one_line(DistillConfig):
                runs = begun(sweep)
                forget_begun(sweep)
                compare_sweep(sweep, runs)
                if "optuna" in str(config.hydra.sweeper._target_):
                    print_best(sweep / BEST)
        except Exception:  # which Hydra would make a warning of
            traceback.print_exc()
            sys.exit(1)
        failed = sorted(run for run in runs if (run / FAILED).is_file())
        for run in failed:
            if run not in self.here:  # it may have printed into a file of its own
                print(f"error: run in {run}: {(run / FAILED).read_text().strip()}", file=sys.stderr)
        if failed:
            sys.exit(2)


def print_best(results: Path) -> None:
    """Prints the values that a sweeper found best. Of a sweep without a finished run there are none."""
    found: Any = OmegaConf.to_container(OmegaConf.load(results)) if results.is_file() else {}
    if best := found.get("best_params"):
        values = " ".join(f"{name.lstrip('+')}={value}" for name, value in best.items())
        print(f"best  {values}, val {found['best_value']:.1%}: {results}")


def hush(sweeper: Mapping[str, Any]) -> None:
    """Silences what Optuna and its sweeper print beside the runs' own lines."""
    if "optuna" in str(sweeper["_target_"]):
        os.environ.setdefault("SQLALCHEMY_SILENCE_UBER_WARNING", "1")  # this Optuna needs that version of it
        import_module("optuna").logging.set_verbosity(logging.WARNING)
        logging.getLogger("hydra_plugins").setLevel(logging.CRITICAL)
