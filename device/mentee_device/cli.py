"""`mentee-device info|predict|learn|evaluate|reset`: the whole life of a mentee on its owner's device.

Exit codes: 0 done, 2 a mistake that one `error:` line explains, 130 interrupted (the state is as last saved).
"""

import argparse
import contextlib
import importlib.util
import json
import statistics
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle import Bundle
from mentee_device.learner import Learner, LearningError, Progress
from mentee_device.manifest import BundleError
from mentee_device.runtime import RuntimeMissing
from mentee_device.samples import SampleError, Samples, check_labels, preprocess
from mentee_device.state import State, StateError

MISTAKES = (BundleError, StateError, SampleError, LearningError, RuntimeMissing)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line, `sys.argv` by default; the exit code, see the top of the file."""
    given = _parser().parse_args(arguments)
    started = time.perf_counter()
    try:
        with Bundle.open(given.bundle) as bundle:
            result: dict[str, Any] = given.run(given, bundle)
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


def info(given: argparse.Namespace, bundle: Bundle) -> dict[str, Any]:
    """What the bundle is, and the state's place in it."""
    manifest = bundle.manifest
    result: dict[str, Any] = {
        "bundle": manifest.id,
        "bytes": sum(entry.size for entry in manifest.files.values()),
        "classes": list(manifest.classes),
        "input": list(manifest.preprocessing.shape),
        "parameters": manifest.parameters,
        "probes": {name: list(shape) for name, shape in manifest.probes.items()},
        "knobs": vars(manifest.knobs),
        "learning_rate": manifest.learning_rate,
        "base_accuracy": manifest.accuracy,
    }
    if given.state:
        _existing(given.state)
        state = State(given.state, manifest.id)
        personal = state.read()
        result["state_step"] = personal.step if personal else 0
        result["state_log"] = [f"{when} {line}" for when, line in state.log()]
    return result


def predict(given: argparse.Namespace, bundle: Bundle) -> dict[str, Any]:
    """Class and probability of every sample of --data."""
    input = _arrays(given.data, ("input",))[0]
    with Learner(bundle, _existing(given.state), given.threads) as learner:
        logits_NK = learner.predict(input).logits
    shifted_NK = np.exp(logits_NK - logits_NK.max(axis=1, keepdims=True))
    probability_N = shifted_NK.max(axis=1) / shifted_NK.sum(axis=1)
    names = [bundle.manifest.classes[index] for index in logits_NK.argmax(axis=1)]
    return {"classes": names, "probability": [round(float(value), 4) for value in probability_N]}


def learn(given: argparse.Namespace, bundle: Bundle) -> dict[str, Any]:
    """Learns from --data, saves, and judges before and after on --data and on the golden set."""
    samples = Samples(*_arrays(given.data, ("input", "labels")))
    if not samples.input.size:
        raise SampleError(f"'{given.data}' holds no sample: expected at least one")
    preprocess(samples.input, bundle.manifest)  # refuses what cannot be learnt from before anything is counted in it
    known = check_labels(samples.labels, len(samples.input), bundle.manifest, unlabelled=True) >= 0
    with Learner(bundle, given.state, given.threads) as learner:
        fresh = not Path(given.state).exists()
        knobs = {name: getattr(given, name) for name in ("alpha", "beta", "gamma", "temperature")}
        if given.learning_rate is not None:
            learner.learning_rate = given.learning_rate
        before = learner.evaluate(samples.input[known], samples.labels[known]) if known.any() else None
        golden_before = learner.evaluate_golden()
        learned = learner.learn(
            samples,
            given.steps,
            given.batch,
            given.replay_batch,
            given.seed if fresh else None,
            _progress(),
            owner_weight=given.owner_weight,
            save_every=given.save_every,
            **{name: value for name, value in knobs.items() if value is not None},
        )
        after = learner.evaluate(samples.input[known], samples.labels[known]) if known.any() else None
        golden_after = learner.evaluate_golden()
        learner.save(
            f"step {learner.step}, {given.steps} learned, golden accuracy {golden_before:.4f} -> {golden_after:.4f}"
        )
        return {
            "steps": given.steps,
            "step": learner.step,
            "accuracy_before": before,
            "accuracy_after": after,
            "golden_before": golden_before,
            "golden_after": golden_after,
            "first": learned.first,
            "last": learned.last,
            "ms_per_step": round(statistics.median(learned.milliseconds), 3),
        }


def evaluate(given: argparse.Namespace, bundle: Bundle) -> dict[str, Any]:
    """Accuracy on --data, or on the golden set where none is given."""
    with Learner(bundle, _existing(given.state), given.threads) as learner:
        if not given.data:
            return {"golden_accuracy": learner.evaluate_golden(), "step": learner.step}
        input, labels = _arrays(given.data, ("input", "labels"))
        return {"accuracy": learner.evaluate(input, labels), "samples": len(labels), "step": learner.step}


def reset(given: argparse.Namespace, bundle: Bundle) -> dict[str, Any]:
    """Puts the state back to the base, keeping its log."""
    with Learner(bundle, _existing(given.state), given.threads) as learner:
        forgotten = learner.step
        learner.reset()
        learner.save(f"reset to the base, {forgotten} steps forgotten")
    return {"step": 0, "forgotten_steps": forgotten}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line like every other mistake, instead of the usage and a line."""
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="mentee-device", description="A mentee on its owner's device.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    every = _Parser(add_help=False)
    every.add_argument("--bundle", required=True, help="folder or zip made by mentee-export")
    every.add_argument("--json", action="store_true", help="print one JSON object")
    every.add_argument("--threads", type=_at_least(1), default=1, help="of ONNX Runtime (default 1)")
    for run, state, data in (
        (info, False, None),
        (predict, False, True),
        (learn, True, True),
        (evaluate, False, False),
        (reset, True, None),
    ):
        command = commands.add_parser(run.__name__, parents=[every], help=run.__doc__, description=run.__doc__)
        command.add_argument("--state", required=state, help="the owner's state file (SQLite)")
        if data is not None:
            command.add_argument("--data", required=data, metavar="NPZ", help="arrays `input` and `labels`")
        command.set_defaults(run=run)
        if run is learn:
            command.add_argument("--steps", type=_at_least(1), default=40)
            command.add_argument("--batch", type=_at_least(1), default=8, help="of the owner's labelled samples")
            command.add_argument("--replay-batch", type=_at_least(0), default=8, help="with the mentor's answers")
            command.add_argument(
                "--owner-weight", type=float, default=4.0, help="of an owner's label against a replayed one"
            )
            command.add_argument("--learning-rate", type=float, help="default: the state's, or the bundle's")
            command.add_argument(
                "--seed", type=_at_least(0), default=0, help="of a new state; an old one goes on as it was"
            )
            command.add_argument(
                "--save-every", type=_at_least(0), default=20, metavar="STEPS", help="0: only at the end"
            )
            for knob in ("alpha", "beta", "gamma", "temperature"):
                command.add_argument(f"--{knob}", type=float, help="default: the bundle's")
    return parser


def _at_least(lowest: int) -> Any:
    def whole_number(text: str) -> int:
        if (value := int(text)) < lowest:
            raise ValueError
        return value

    whole_number.__name__ = f"whole number of at least {lowest}"  # argparse shows it: "invalid … value: '0'"
    return whole_number


def _existing(state: str | None) -> str | None:
    if state is not None and not Path(state).is_file():
        raise StateError(f"no state file at {state}: `mentee-device learn` creates one")
    return state


def _arrays(path: str, names: tuple[str, ...]) -> list[NDArray[Any]]:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [name for name in names if name not in archive]
            if missing:
                raise SampleError(f"{path} lacks {missing}, expected an .npz with {list(names)}")
            return [archive[name] for name in names]
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        if isinstance(error, SampleError):
            raise
        raise SampleError(f"{path} cannot be read as an .npz ({error})") from error


def _progress() -> Progress | None:
    if not sys.stderr.isatty():
        return None

    def line(done: int, steps: int, terms: dict[str, float]) -> None:
        end = "\n" if done == steps else ""
        print(f"\rstep {done}/{steps}  loss {terms['loss']:.4f} ", end=end, file=sys.stderr, flush=True)

    return line


def _readable(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_readable(item)}" for name, item in value.items())
    if isinstance(value, list):
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
