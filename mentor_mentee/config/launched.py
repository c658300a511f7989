"""Runs of a sweep that a launcher's plugin starts in other processes, or on other machines: they tell of themselves by files.

SWEEP/.begun/3      names the folder of run 3, once it has begun; all of it is removed when the sweep ends
SWEEP/3/failed.txt  why it ended, where it failed
"""

import shutil
import traceback
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from mentor_mentee.errors import UserError
from mentor_mentee.files import write_bytes

BEGUN = ".begun"
FAILED = "failed.txt"
PACKAGES = ("joblib", "submitit", "optuna")  # whose errors tell a user nothing
AGAIN = (
    "the same command with run_dir=… resume=true finishes the others, python -m distill.report.sweep FOLDER compares what "
    "finished"
)


def forget_begun(sweep: Path) -> None:
    shutil.rmtree(sweep / BEGUN, ignore_errors=True)


def note_begun(sweep: Path, number: int, folder: Path) -> None:
    (sweep / BEGUN).mkdir(parents=True, exist_ok=True)
    write_bytes(sweep / BEGUN / str(number), str(folder.resolve()).encode(errors="surrogateescape"))


def begun(sweep: Path) -> set[Path]:
    """The folders of the sweep's runs, absolute."""
    return {Path(path.read_bytes().decode(errors="surrogateescape")) for path in (sweep / BEGUN).glob("[0-9]*")}


@contextmanager
def plugins_in_one_line() -> Iterator[None]:
    """Makes a `UserError` of what a launcher raises when a process of its own died, and a sweeper when all of its runs failed."""
    try:
        yield
    except Exception as error:
        innermost = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)][-1]
        raised_by = {type(error).__module__.partition(".")[0], innermost.partition(".")[0]}.intersection(PACKAGES)
        if not raised_by:
            raise
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"the sweep was ended by {' and '.join(sorted(raised_by))} ({type(error).__name__}: {reason}); {AGAIN}"
        ) from None


@contextmanager
def folder_in_one_line(began: Collection[object]) -> Iterator[None]:
    """Makes a `UserError` of what Hydra runs into where it makes the run's folder, before anything `began`."""
    try:
        yield
    except OSError as error:
        if began or error.filename is None or isinstance(error, BrokenPipeError):
            raise
        raise UserError(
            f"the run's folder '{error.filename}' cannot be made ({error.strerror}); set run_dir=... to a folder that can be "
            "written"
        ) from None


def no_value() -> float | None:
    """The value of a run that failed: NaN, at which Optuna's sweeper would end the sweep."""
    by_optuna = HydraConfig.initialized() and "optuna" in str(HydraConfig.get().sweeper["_target_"])
    return None if by_optuna else float("nan")


def with_direction(arguments: Sequence[str]) -> list[str]:
    """Has Optuna's sweeper look for the highest value, where no other direction is given: a run returns an accuracy, and the
    plugin would look for the lowest."""
    given = any("hydra.sweeper.direction=" in word for word in arguments)
    return [
        *arguments,
        *([] if given or "hydra/sweeper=optuna" not in arguments else ["hydra.sweeper.direction=maximize"]),
    ]
