"""`python -m demo`: distil on 5,000 MNIST digits, export, learn on a device without torch, and print one table."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from mentor_mentee.errors import UserError
from mentor_mentee.interrupt import while_importing
from mentor_mentee.output import quiet_when_unread


def main(overrides: Sequence[str] = ()) -> int:
    """`overrides` are added to the demo's experiment, as on the command line of `python -m distill`."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--out", default="runs/demo", help="where the runs and the report go (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 1 (%(default)s)")
    parser.add_argument("--device-python", help="python of the device environment (default: the one `make env` made)")
    try:
        with quiet_when_unread():
            given = parser.parse_args()
            return run(given, overrides)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; what was finished is cached for the next run", file=sys.stderr)
        return 130


def run(given: Any, overrides: Sequence[str]) -> int:
    from demo.device import device_python

    if given.seeds < 1:
        raise UserError(f"--seeds {given.seeds}; expected 1 or more")
    python = device_python(given.device_python)  # before anything that takes time

    with while_importing():
        from demo.mentees import judged
        from demo.owner import meet
        from demo.seeds import run_seeds
        from demo.table import demo_table, write_demo_report
        from distill.curves import read_schedule
        from distill.machine import Machine
        from distill.mentors.find import find_mentor
        from distill.schema import DistillConfig
        from mentee.networks import parameter_count
        from mentor_mentee.config.compose import compose
        from mentor_mentee.data.load import load_data

    out = Path(given.out)
    machine = Machine(accelerator="cpu", threads=1)  # as the mentees': see demo.mentees
    configs: list[DistillConfig] = [
        compose(
            "distill", DistillConfig, ["experiment=mnist5k_demo", f"seed={n}", f"run_dir={out}/seed{n}", *overrides]
        )
        for n in range(1, given.seeds + 1)
    ]
    splits = load_data(configs[0].data, whole=True)
    classes = len(splits.classes)
    found = find_mentor(configs[0].mentor, splits, Path(configs[0].cache_dir), machine)
    people = meet(splits.test, classes)
    outcomes = run_seeds(configs, found, people, python, machine.console)
    mentor_accuracy = judged(found.network, found.view, people, classes)
    table = demo_table(outcomes, mentor_accuracy, parameter_count(found.network))
    schedule = read_schedule(configs[0].schedule)
    report = write_demo_report(out / "report", table, outcomes, splits.classes, found.val_accuracy, schedule)
    table.print(Console(width=None if sys.stdout.isatty() else 120))
    Console(highlight=False).print(f"report  {report}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
