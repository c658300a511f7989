"""Requires that a mentee's graph trains, by a trial of it in a child process, and makes one line of whatever happens there."""

import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from export.graph.artifacts import FILES
from export.graph.optimizer_spec import Optimizer
from export.graph.ports import Port, random_feeds
from export.graph.training_graph import Forward
from export.trial.blame import named_in, search
from export.trial.parent import PATIENCE, Ended, run_child
from export.trial.task import BATCHES, Task, ports_of
from mentor_mentee.errors import UserError

REMARKS = re.compile(  # its own source, signatures and codes
    r"\[ONNXRuntimeError\] : \d+ : \w+ : |/[^ ]*onnxruntime[^ ]*\.(?:cc|h):\d+ [^()]*\([^()]*\)"
    r"(?:::<lambda\([^()]*\)>)?(?: const)? |Status Message: |Exception during [a-z]+: |"
    r"Non-zero status code returned while running "
)


def require_trains(
    forward: Forward,
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    trainable: Sequence[str],
    running: Sequence[str],
    optimizer: Optimizer,
    folder: Path,
    batches: Sequence[int] = BATCHES,
    patience: float = PATIENCE,
) -> None:
    """Builds the training artifacts into `folder`, which must exist, in a child process that takes a step at each of `batches`.

    An `inference.onnx` beside `folder` is run as well. Raises `UserError` for what has no gradient, for an error of the
    runtime, and for a child that died or fell silent, naming the operator and its module where they can be found.
    """
    task = Task(list(trainable), list(running), optimizer, ports_of(inputs), ports_of(outputs), list(batches))
    feeds = random_feeds(inputs, max(batches))
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".trial-") as name:
        scratch = Path(name)
        whole = scratch / "whole"
        task.write(whole, forward.model, feeds)
        if (inference := folder.parent / "inference.onnx").is_file():
            shutil.copy(inference, whole)
        ended = run_child(whole, patience)
        if not ended.trains:
            raise failure(
                ended, forward, lambda: search(forward.model, task, feeds, ended, forward.origins, scratch, patience)
            )
        for file in FILES:
            (whole / "artifacts" / file).replace(folder / file)


def failure(ended: Ended, forward: Forward, searched: Callable[[], str | None]) -> Exception:
    """The error that tells of a trial that failed; `searched` finds the operator where no message names it."""
    if ended.errno is not None:
        return OSError(ended.errno, ended.error)
    reason = REMARKS.sub("", ended.error or "")
    place = named_in(reason, forward.origins) or searched()
    if ended.mistake and place is None:
        return UserError(reason)
    what = f"ends in {ended.death}" if ended.death else f"fails ({reason[:300]})"
    return UserError(
        f"{place or 'the mentee'}: ONNX Runtime Training {what} {ended.doing}; use another layer there, or freeze every "
        "parameter before it"
    )
