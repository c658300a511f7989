"""`mentee-device info|add|learn|predict|evaluate|…`: a mentee's life at its owner's, see commands.py, quick_commands.py.

Exit codes: 0 done, 2 a mistake that one `error:` line explains, 130 interrupted (the state is as last saved).
"""

import argparse
import contextlib
import importlib.util
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mentee_device.bundle.archive import Bundle
from mentee_device.bundle.manifest import KNOBS, BundleError
from mentee_device.bundle.samples import SampleError
from mentee_device.cli import commands, quick_commands, state_commands
from mentee_device.core.learner import LearningError
from mentee_device.core.runtime import RuntimeMissing
from mentee_device.labels.assign import RULES
from mentee_device.labels.pseudo_labels import CLUSTER_WEIGHT, GUESSED
from mentee_device.runs.replay import REPLAYS
from mentee_device.runs.run import Progress, Watcher
from mentee_device.runs.settings import SettingError
from mentee_device.state.database import StateError
from mentee_device.state.sample_store import SOURCES

WATCHED = (commands.learn, commands.forget, quick_commands.undo, state_commands.update)
MISTAKES = (BundleError, StateError, SampleError, LearningError, SettingError, RuntimeMissing)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line, `sys.argv` by default; the exit code, see the top of the file."""
    given = _parser().parse_args(arguments)
    given.say = lambda note: print(f"note: {note}", file=sys.stderr)
    more = {"watch": _watcher()} if given.run in WATCHED else {}
    started = time.perf_counter()
    try:
        with Bundle.open(given.bundle, given.key) as bundle:
            result: dict[str, Any] = given.run(given, bundle, **more)
    except MISTAKES as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: the state is as it was last saved", file=sys.stderr)
        return 130
    result["seconds"] = round(time.perf_counter() - started, 3)
    if given.json:
        print(json.dumps({**result, **_process()}))
    else:
        for name, value in result.items():
            print(f"{name:>22}  {_readable(value)}")
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line like every other mistake, instead of the usage and a line."""
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="mentee-device", description="A mentee on its owner's device.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    every = _Parser(add_help=False)
    every.add_argument("--bundle", required=True, help="folder or zip made by mentee-export")
    every.add_argument("--key", metavar="PEM", help="public key that must have signed the bundle")
    every.add_argument("--json", action="store_true", help="print one JSON object")
    every.add_argument("--threads", type=_at_least(1), default=1, help="of ONNX Runtime (default 1)")
    every.add_argument("--key-file", metavar="FILE", help="32 bytes that the state is encrypted with")
    made = {}
    for run, state, data in (
        (commands.info, False, None),
        (commands.add, True, True),
        (commands.learn, True, False),
        (commands.predict, False, True),
        (commands.evaluate, False, False),
        (commands.versions, True, None),
        (commands.log, True, None),
        (commands.rollback, True, None),
        (commands.reset, True, None),
        (commands.forget, True, None),
        (commands.settings, True, None),
        (quick_commands.enrol, True, False),
        (quick_commands.recognise, True, True),
        (quick_commands.watch, True, False),
        (quick_commands.guess, True, False),
        (quick_commands.undo, True, None),
        (state_commands.update, True, None),
        (state_commands.export_state, True, None),
        (state_commands.import_state, True, None),
        (state_commands.merge, True, None),
    ):
        command = subparsers.add_parser(
            run.__name__.replace("_", "-"), parents=[every], help=run.__doc__, description=run.__doc__
        )
        command.add_argument("--state", required=state, metavar="FOLDER", help="the owner's folder")
        if data is not None:
            command.add_argument("--data", required=data, metavar="NPZ", help="arrays `input` and `labels`")
        command.set_defaults(run=run)
        made[run.__name__] = command
    made["add"].add_argument("--source", choices=SOURCES[:-1], default="owner", help="of the labels (default owner)")
    made["add"].add_argument("--weight", type=float, default=1.0, help="of these labels against an owner's")
    _learn_options(made["learn"])
    made["log"].add_argument("--last", type=_at_least(1), default=20, metavar="N")
    made["rollback"].add_argument("--to", type=_at_least(0), metavar="VERSION", help="0 is the base")
    forget = made["forget"]
    forget.add_argument("--samples", type=int, nargs="+", metavar="N", help="numbers, as `add` gave them")
    forget.add_argument("--source", choices=SOURCES, help="all whose label is from there")
    forget.add_argument("--label", metavar="CLASS", help="all of this class")
    forget.add_argument("--all", action="store_true")
    made["settings"].add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="may be repeated")
    _quick_options(made)
    for name in ("export_state", "import_state", "merge"):
        made[name].add_argument("file", metavar="FILE", help="the exported state")
    made["update"].add_argument("--steps", type=_at_least(1), help="of the replay (default: as many as were learnt)")
    return parser


def _quick_options(made: Mapping[str, argparse.ArgumentParser]) -> None:
    made["enrol"].add_argument("--name", metavar="CLASS", help="of the samples in --data, the bundle's or a new one")
    made["enrol"].add_argument("--remove", metavar="CLASS", help="all enrolled samples of it")
    made["enrol"].add_argument(
        "--clear", action="store_true", help="removes all that was enrolled, before anything else"
    )
    made["recognise"].add_argument("--neighbours", type=_at_least(0), default=0, help="0: nearest class mean (default)")
    made["recognise"].add_argument("--floor", type=float, default=-1.0, help="least cosine, below it: don't know")
    watch = made["watch"]
    watch.add_argument("--start", action="store_true", help="observe anew what is normal")
    watch.add_argument("--samples", type=_at_least(2), help="to observe (default 200 where no --seconds are given)")
    watch.add_argument("--seconds", type=float, help="to observe")
    watch.add_argument("--percentile", type=float, help="of normal samples that are not to be flagged (default 99)")
    watch.add_argument("--capacity", type=_at_least(2), help="embeddings that are kept (default 256)")
    watch.add_argument("--neighbours", type=_at_least(1), help="distance to the k-th nearest (default 1)")
    watch.add_argument("--freeze", action="store_true", help="end observing now")
    watch.add_argument("--resume", action="store_true", help="observe for one more period")
    watch.add_argument("--stop", action="store_true", help="forget what was observed")
    guess = made["guess"]
    guess.add_argument(
        "--rule", choices=RULES, default="pseudo", help="the mentee's softmax, or the groups that the samples lie in"
    )
    guess.add_argument("--weight", type=float, default=CLUSTER_WEIGHT, help="of a label by clusters (default 1)")
    guess.add_argument("--threshold", type=float, default=0.95, help="of the mentee's own labels; above 1: none")
    guess.add_argument("--adaptive", action="store_true", help="a lower threshold for classes it is seldom sure of")
    guess.add_argument("--mentor-threshold", type=float, default=0.0, help="of the mentor's answers")
    guess.add_argument("--pause", type=float, metavar="SECONDS", help="at most, between two frames of one stream")
    guess.add_argument("--window", type=int, default=5, help="frames that vote in a stream (default 5)")
    guess.add_argument("--near", type=float, default=0.35, help="probability of a near-miss before a hit")
    made["undo"].add_argument("--samples", type=int, nargs="+", metavar="N", help="numbers; default: all guesses")
    made["undo"].add_argument("--source", choices=GUESSED, help="guesses from there only")


def _learn_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--steps", type=_at_least(1), help="of the run (default 240, or 200 without any label)")
    command.add_argument("--seconds", type=float, help="of the run at most")
    command.add_argument("--budget-samples", type=_at_least(1), metavar="N", help="drawn at most, repeats counted")
    command.add_argument("--joules", type=float, help="of the run at most, estimated from --watts")
    command.add_argument("--watts", type=float, help="what the device draws while it learns")
    command.add_argument("--batch", type=_at_least(1), default=8, help="of the owner's labelled samples")
    command.add_argument("--guessed-batch", type=_at_least(1), default=16, help="of the owner's other samples")
    command.add_argument("--guess-weight", type=float, default=1.0, help="of a guessed label against an owner's")
    command.add_argument(
        "--rounds", type=_at_least(0), help="of guessing labels where there are none (default: the settings', 5)"
    )
    command.add_argument("--replay-batch", type=_at_least(0), default=16, help="of the bundle's samples")
    command.add_argument("--replay", choices=REPLAYS, help="whose answers they carry (default: the settings', auto)")
    command.add_argument("--owner-weight", type=float, default=4.0, help="of an owner's label against a replayed one")
    command.add_argument("--learning-rate", type=float, help="default: the state's, or the bundle's")
    command.add_argument("--seed", type=_at_least(0), default=0, help="of a new state; an old one goes on as it was")
    command.add_argument("--save-every", type=_at_least(1), default=20, metavar="STEPS")
    command.add_argument(
        "--every", type=_at_least(1), metavar="N", help="one pass: learn after every N labelled samples"
    )
    command.add_argument("--nice", type=_at_least(1), metavar="N", help="lower the process's priority by N")
    command.add_argument(
        "--resume", action="store_true", help="go on with a run that was cut off; --data only judges it"
    )
    command.add_argument("--discard", action="store_true", help="drop a run that was cut off, then learn")
    for knob in KNOBS:
        command.add_argument(f"--{knob}", type=_curve, help="default: the settings', or the bundle's")


def _curve(text: str) -> Any:
    """A number, or `[[0, 2], [1, 0.1]]` over the run."""
    return json.loads(text) if text.lstrip().startswith("[") else float(text)


def _at_least(lowest: int) -> Any:
    def whole_number(text: str) -> int:
        if (value := int(text)) < lowest:
            raise ValueError
        return value

    whole_number.__name__ = f"whole number of at least {lowest}"  # argparse shows it: "invalid … value: '0'"
    return whole_number


def _watcher() -> Watcher | None:
    if not sys.stderr.isatty():
        return None

    def line(progress: Progress) -> None:
        end = "\n" if progress.fraction >= 1 else ""
        done = f"step {progress.done.steps}, {progress.fraction:.0%}"
        print(f"\r{done}  loss {progress.terms['loss']:.4f} ", end=end, file=sys.stderr, flush=True)

    return line


def _readable(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_readable(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_readable, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _process() -> dict[str, Any]:
    """Figures a benchmark wants of the process itself."""
    return {
        "torch_importable": _importable("torch"),
        "onnx_importable": _importable("onnx"),
        "peak_rss_mb": _peak_rss_mb(),
    }


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


def _peak_rss_mb() -> float | None:
    with contextlib.suppress(OSError):  # Linux and Android; getrusage there still counts the parent before exec
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)
