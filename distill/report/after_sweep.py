"""A callback that Hydra calls around a sweep's runs. Imports no torch: Hydra makes it for `--help` as well."""

import sys
import traceback
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from distill.schema import DistillConfig
from mentor_mentee.config.command_line import mistakes_in_one_line, require_no_run_dir


class CompareRuns(Callback):
    """Ends `python -m distill -m …` in one comparison (`distill.report.sweep`) in the sweep's folder: of its own runs, where an
    earlier sweep left others there."""

    def __init__(self) -> None:
        self.jobs: set[Path] = set()

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        with mistakes_in_one_line(DistillConfig):
            require_no_run_dir(config)

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        self.jobs.add(Path(config.hydra.runtime.output_dir).resolve())

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        from distill.report.sweep import compare_sweep

        try:
            with mistakes_in_one_line(DistillConfig):
                compare_sweep(Path(config.hydra.sweep.dir), self.jobs)
        except Exception:  # which Hydra would make a warning of
            traceback.print_exc()
            sys.exit(1)
