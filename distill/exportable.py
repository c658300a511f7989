"""Says before a mentor is trained whether the new mentee will export: asks `python -m export preflight`, beside this process.

distill and export know nothing of each other: what goes over is a mentee's checkpoint with untrained weights, what comes back
one line of JSON. The answer is cached by the network's recipe and source, its input, and the exporter's own source.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch

from distill.networks.build import NewMentee
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.files import write_json
from mentor_mentee.objective.adapters import Constants
from mentor_mentee.objective.loss_spec import LossSpec
from mentor_mentee.objective.probes import Probe, ProbedMentee
from mentor_mentee.recipe import recipe_identity

LONGEST = 300.0  # seconds that a run waits for the answer
PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime-training-cpu", "onnxruntime")


class Answer(NamedTuple):
    """`why` a mentee will not export; or what its bundle will lack, a kind of graphs that are `left_out` and why."""

    why: str | None = None
    left_out: str | None = None


class EarlyWarning:
    """`ask` starts the question, `tell` waits for its answer and says a warning, once, where the mentee will not export as
    `settings` has it (trainable, batch_norm, rewrite, backend), or a note where a kind of graphs will be left out. A cached
    answer is told at once.

    Draws no random number, so a run's results are the same with and without it.
    """

    def __init__(self, cache: Path, say: Callable[[str], None], settings: Mapping[str, Any] | None = None) -> None:
        self.cache, self.say, self.settings = cache, say, dict(settings or {})
        self.told: set[str] = set()  # questions, by their digest
        self.answer: Path | None = None  # where it is cached
        self.asked: subprocess.Popen[str] | None = None
        self.scratch: tempfile.TemporaryDirectory[str] | None = None

    def ask(self, mentee: NewMentee, classes: Sequence[str], loss: LossSpec, probes: Sequence[Probe] = ()) -> None:
        """The adapters of `probes` have their constants, of whatever mentor. Nothing is asked twice."""
        asked = question(mentee, len(classes), loss, probes, self.settings)
        if asked in self.told:
            return
        self.told.add(asked)
        self.answer = self.cache / f"{asked}.json"
        if self.answer.is_file():
            self.tell()
            return
        if os.environ.get("LOCAL_RANK", "0") != "0":
            return
        self.scratch = tempfile.TemporaryDirectory()
        path = Path(self.scratch.name) / "mentee.safetensors"
        untrained(mentee, classes, loss, probes).save(path)
        words = [f"{name}={in_one_word(value)}" for name, value in self.settings.items()]
        command = [sys.executable, "-m", "export", "preflight", f"checkpoint={path}", "json=true", *words]
        here = os.pathsep.join(folder for folder in sys.path if folder)  # `-m` adds the folder of the call itself
        self.asked = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": here, "OMP_NUM_THREADS": "1"},
        )

    def tell(self) -> None:
        if self.answer is None:
            return
        answer, self.answer = self.answer, None
        found = self.awaited(answer) if self.asked is not None else cached(answer)
        how = "".join(f" with {name}={in_one_word(value)}" for name, value in self.settings.items())
        if found.why is None and found.left_out is not None:
            self.say(f"note: this mentee will export{how}, but {found.left_out}")
        if found.why is not None:
            self.say(
                f"warning: this mentee will not export{how}: {found.why} (export.trainable=… and export.batch_norm=… say how it "
                "will be exported; preflight=false leaves this check out)"
            )

    def awaited(self, answer: Path) -> Answer:
        assert self.asked is not None
        assert self.scratch is not None
        try:
            out, err = self.asked.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            return Answer()
        finally:
            self.asked.kill()
            self.asked.wait()
            self.scratch.cleanup()
        known, found = read(self.asked.returncode, out, err)
        if known:
            answer.parent.mkdir(parents=True, exist_ok=True)
            write_json(answer, found._asdict())
        return found


def read(code: int, out: str, err: str) -> tuple[bool, Answer]:
    """(whether that is an answer, what it says). A preflight that failed for reasons of its own is none."""
    if code < 0:
        return False, Answer(f"its preflight ended in signal {-code}")
    if code in (0, 1) and out.strip():
        try:
            return True, in_json(out.splitlines()[-1])
        except (ValueError, KeyError, TypeError):  # what a network prints itself, before an end that nobody foresaw
            return False, Answer()
    if code == 2 and err.strip():
        return True, Answer(err.strip().splitlines()[-1].removeprefix("error: "))
    return False, Answer()


def cached(answer: Path) -> Answer:
    try:
        return in_json(answer.read_bytes())
    except (OSError, ValueError, KeyError, TypeError):
        return Answer()


def in_json(text: str | bytes) -> Answer:
    about = json.loads(text)
    return Answer(about["why"], about["left_out"])


def in_one_word(value: Any) -> str:
    """As the command line takes it: [a,b]."""
    return f"[{','.join(map(str, value))}]" if isinstance(value, list | tuple) else str(value)


def untrained(
    mentee: NewMentee, classes: Sequence[str], loss: LossSpec, probes: Sequence[Probe] = ()
) -> MenteeCheckpoint:
    with torch.random.fork_rng(devices=[]):  # a regressor's weights
        learned = ProbedMentee(mentee.network, probes, mentee.head).learned_probes()
    return MenteeCheckpoint(
        recipe=mentee.recipe,
        state=mentee.network.state_dict(),
        head=mentee.head,
        view=mentee.view,
        classes=tuple(classes),
        probes=tuple(learned),
        mentor=None,
        data={},
        accuracy={},
        loss=loss,
    )


def installed(package: str) -> str | None:
    """Its version; there is one of two runtimes."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def question(
    mentee: NewMentee,
    classes: int,
    loss: LossSpec,
    probes: Sequence[Probe] = (),
    settings: Mapping[str, Any] | None = None,
) -> str:
    """Equal for mentees whose answer is the same; their weights do not count, nor does what was measured of a mentor."""
    versions = [installed(name) for name in PACKAGES]
    about = [recipe_identity(mentee.recipe, "mentee.network"), mentee.view.shape, mentee.head, classes, loss, versions]
    about += [unmeasured(probe) for probe in probes]
    about.append(sorted((settings or {}).items()))
    digest = hashlib.sha256(repr(about).encode())
    spec = find_spec("export")
    for folder in (spec.submodule_search_locations if spec is not None else None) or ():
        for file in sorted(Path(folder).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


def unmeasured(probe: Probe) -> Probe:
    return replace(probe, mentor="", weight=1.0, adapter=replace(probe.adapter, constants=Constants()))
