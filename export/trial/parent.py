"""The parent's side of a trial: starts the child, listens, and says how it ended: well, with an error, by a signal, never."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

PATIENCE = 120.0  # seconds without a sign of life
START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from pathlib import Path; "
    "from export.trial.child import main; main(Path(sys.argv[2]))"
)


@dataclass(frozen=True)
class Ended:
    """How a trial ended. `death` is a signal's name or how long nothing was heard, `error` the runtime's own words."""

    phase: str = "start"  # then build, load, step
    batch: int | None = None
    death: str | None = None
    error: str | None = None
    errno: int | None = None  # of an error of the disk
    mistake: bool = False  # the error is a line that was written for a person
    trains: bool = False

    @property
    def doing(self) -> str:
        if self.batch is not None:
            return f"in a step of {self.batch} sample{'s' if self.batch > 1 else ''}"
        words = {"build": "while it builds the gradient graph", "load": "while it loads the training graph"}
        return words.get(self.phase, "before it began")


def run_child(folder: Path, patience: float = PATIENCE) -> Ended:
    """Runs the trial whose task lies in `folder`; the artifacts that it made are in `folder`/artifacts."""
    command = [sys.executable, "-c", START, json.dumps(sys.path), str(folder), str(os.getpid())]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = Ended()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env
    ) as child:
        assert child.stdout is not None
        try:
            for report in reports(child.stdout, patience):
                ended = after(ended, report)
            code = child.wait()
        except TimeoutError:
            return Ended(ended.phase, ended.batch, death=f"no sign of life for {patience:g} s")
        finally:
            child.kill()
    if ended.trains or ended.error is not None:
        return ended
    return Ended(ended.phase, ended.batch, death=name_of(code))


def after(before: Ended, report: dict[str, Any]) -> Ended:
    if "phase" in report:
        return Ended(report["phase"], report.get("batch"))
    if "failed" in report:
        text = " ".join(f"{report['text']}".split()) or report["failed"]
        mistake = report["failed"] == "UserError"
        return Ended(before.phase, before.batch, error=text, errno=report["errno"], mistake=mistake)
    return Ended(before.phase, before.batch, trains=True)


def reports(pipe: IO[bytes], patience: float) -> Iterator[dict[str, Any]]:
    """Raises `TimeoutError` where none comes within `patience` seconds of the one before."""
    rest, until = b"", time.monotonic() + patience
    while True:
        left = until - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            raise TimeoutError
        read = os.read(pipe.fileno(), 1 << 16)
        if not read:
            return
        *lines, rest = (rest + read).split(b"\n")
        for line in lines:
            until = time.monotonic() + patience
            yield json.loads(line)


def name_of(code: int) -> str:
    """`SIGFPE` for -8; SIGKILL is what the system sends where memory runs out."""
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in {each.value for each in signal.Signals} else f"signal {-code}"
    return f"{name}, as the system ends what takes all memory" if name == "SIGKILL" else name
