"""The first opening of a bundle on a device: its golden set is predicted and one step learnt, in a child process with bounds.

What comes out is compared with what the manifest says was measured when the bundle was made. So a graph that crashes, runs
without end, asks for all memory or answers other than it did is refused before anything depends on it. That a bundle passed is
remembered by its id, which covers every byte of it, as an empty file in the user's cache folder.

Axes: N samples, K classes.
"""

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.archive import Bundle
from mentee_device.bundle.backends import ORT_TRAINING
from mentee_device.bundle.errors import BundleError
from mentee_device.bundle.manifest import Manifest
from mentee_device.bundle.samples import Samples, Supervision, preprocess
from mentee_device.core import child, runtime
from mentee_device.core.backends import choose
from mentee_device.core.backends.backend import Backend
from mentee_device.core.batch import mixed, unanswered
from mentee_device.core.microbatch import EVALUATION_BATCH

GOLDEN_MOST = 512  # samples that are predicted; of a larger golden set every so many-th
CHANCE = 5.0  # standard deviations that a part's accuracy may be off the whole's
TIE = 1e-3  # two logits so close, relative to the larger, may change places between two machines
CLOSE = 2e-3  # relative difference of a loss term or a logit between two machines: float32 gives 1e-5
EXPECTED_FROM = 8  # replay samples
STEP = 4  # samples of each pack in the step
PASSED = "passed"
CHECKS = 1  # raised when a later program looks at more

_tried: set[tuple[str, str]] = set()  # ids, with the backend, that passed here: the cache folder may not be writable


def require_tried(bundle: Bundle, threads: int, backend: str) -> None:
    """Tries the bundle on a backend of it, unless it passed here before. Raises BundleError, RuntimeMissing."""
    identity = bundle.manifest.id, backend
    if identity in _tried:
        return
    note = _note(*identity)
    if note is None or not _is_there(note):
        _try(bundle, threads, backend)
        if note is not None:
            with contextlib.suppress(OSError):
                note.parent.mkdir(parents=True, exist_ok=True)
                note.touch()
    _tried.add(identity)


def _try(bundle: Bundle, threads: int, backend: str) -> None:
    choose.chosen(bundle.manifest, backend)  # loads the runtime before a fork, so that both have it
    if child.can_fork():
        said = child.forked(lambda: _in_words(bundle, threads, backend))
    elif child.can_spawn():
        said = child.spawned(__name__, spawned_trial.__name__, str(bundle.folder), str(threads), backend)
    else:
        said = _in_words(bundle, threads, backend)
    if said != PASSED:
        raise BundleError(" ".join(said.split()))


def spawned_trial(folder: str, threads: str, backend: str) -> None:
    """The work of a new interpreter."""
    child.limit()
    with Bundle.open(folder) as bundle:
        choose.chosen(bundle.manifest, backend)
        sys.stdout.write(_in_words(bundle, int(threads), backend))


def _in_words(bundle: Bundle, threads: int, backend: str) -> str:
    try:
        attempt(bundle, threads, backend)
    except (MemoryError, ValueError, RuntimeError) as error:  # BundleError and SampleError are ValueErrors
        return f"{error}" or f"the bundle cannot be run here ({type(error).__name__}): refused"
    return PASSED


def attempt(bundle: Bundle, threads: int, backend: str) -> None:
    """Predicts, compares and learns one step, on a session of its own. Raises BundleError."""
    manifest, golden, replay = bundle.manifest, bundle.golden(), bundle.supervision()
    _require_counts(manifest, len(golden), len(replay))
    session = choose.opened(bundle, threads, backend)
    session.learning_rate = manifest.learning_rate
    part = golden.take(np.arange(0, len(golden), max(1, -(-len(golden) // GOLDEN_MOST))))
    if len(part):
        logits_NK = np.concatenate(
            [
                session.forward(unanswered(manifest, part.input[start : start + EVALUATION_BATCH]))["logits"]
                for start in range(0, len(part), EVALUATION_BATCH)
            ]
        )
        require_accuracy(logits_NK, part.labels, manifest.accuracy["golden"], len(golden))
        require_same_inference(bundle, part, logits_NK)
    if manifest.expected and len(replay):
        found = expected_terms(session, manifest, replay)
        if found:
            require_expected(found, manifest.expected)
    _learn_a_step(session, manifest, golden, replay)


def _require_counts(manifest: Manifest, golden: int, replay: int) -> None:
    for name, stated, found in (
        ("golden", manifest.golden_samples, golden),
        ("supervision", manifest.replay_samples, replay),
    ):
        if name == "golden" and not found:
            continue  # nothing is learned without one, and that is said where it is needed
        if stated is not None and found != stated:
            raise BundleError(
                f"the {name} pack has {found} samples, manifest.json says {stated}: make the bundle again"
            )


def require_accuracy(logits_NK: NDArray[Any], labels_N: NDArray[np.int64], stated: float, whole: int) -> None:
    """Compares accuracy on N of the `whole` golden set's samples with what was measured at the export. Where N is all of them
    the hits must be the same, but for samples whose two highest logits are nearly equal. Raises BundleError."""
    N = len(labels_N)
    hits = int((logits_NK.argmax(axis=1) == labels_N).sum())
    second_N, first_N = np.sort(logits_NK, axis=1)[:, -2:].T
    ties = int((first_N - second_N <= TIE * np.maximum(np.abs(first_N), 1e-6)).sum())
    allowed = ties if whole == N else ties + 1 + CHANCE * float(np.sqrt(stated * (1 - stated) * N))
    if not np.isfinite(logits_NK).all() or abs(hits - round(stated * N)) > allowed:
        raise BundleError(
            f"the mentee is right on {hits / N:.1%} of the golden set here, manifest.json says {stated:.1%}: its graphs, "
            "weights, classes or packs are not those that were measured; fetch the bundle again"
        )


def require_same_inference(bundle: Bundle, samples: Samples, logits_NK: NDArray[Any]) -> None:
    """Compares inference.onnx, which this program only hands on, with what the eval graph answers. Raises BundleError."""
    first = samples.take(np.arange(min(EVALUATION_BATCH, len(samples))))
    inference = bundle.manifest.inference
    try:
        found = runtime.infer(bundle.path(inference.file), preprocess(first.input, bundle.manifest))
    except (RuntimeError, ValueError) as error:
        raise BundleError(
            f"ONNX Runtime cannot run {inference.file!r}: {' '.join(str(error).split())[:300]}"
        ) from error
    expected = logits_NK[: len(first)]
    if found.shape != expected.shape or not np.abs(found - expected).max() <= CLOSE * max(1.0, np.abs(expected).max()):
        raise BundleError(
            f"{inference.file!r} answers other than the graph that is trained, for the first golden samples: fetch it again"
        )


def expected_terms(session: Backend, manifest: Manifest, replay: Supervision) -> dict[str, float]:
    """Loss and terms at evaluation, under the manifest's knobs, for eight replay samples spread over those that have a label, or
    over all where none has. Empty where the backend cannot tell."""
    labelled = np.flatnonzero(replay.samples.labels >= 0)
    rows = labelled if len(labelled) else np.arange(len(replay))
    part = replay.take(rows[:: -(-len(rows) // EXPECTED_FROM)])
    nobody = Samples(part.samples.input[:0], part.samples.labels[:0])
    outputs = session.evaluate(mixed(manifest, nobody, part, 1.0, {}))
    return {name: float(value[0]) for name, value in outputs.items() if name not in ("logits", "embedding")}


def require_expected(found: dict[str, float], stated: dict[str, float]) -> None:
    """Raises BundleError where a term of the loss is another than at the export."""
    for name, value in stated.items():
        here = found.get(name, float("nan"))
        if not abs(here - value) <= CLOSE * max(abs(value), 1e-2):
            raise BundleError(
                f"{name} of the replay samples is {here:.4g} here, manifest.json says {value:.4g}: graphs, weights or "
                "the mentor's answers are not those that were measured; fetch the bundle again"
            )


def _learn_a_step(session: Backend, manifest: Manifest, golden: Samples, replay: Supervision) -> None:
    mine, theirs = (np.arange(min(STEP, len(pack))) for pack in (golden, replay))
    batch = mixed(manifest, golden.take(mine), replay.take(theirs), 1.0, {})
    if not len(batch.input):
        return
    evaluated = session.evaluate(batch)
    trained = session.forward_backward(batch)
    loss = trained["loss"]
    if manifest.batch_norm != "batch" and manifest.dropout == "off":  # else the two differ by design
        for name, value in evaluated.items():
            if not np.abs(trained[name] - value).max() <= CLOSE * max(1e-2, float(np.abs(value).max())):
                raise BundleError(
                    f"{name} of the training graph is other than the eval graph's for the same samples: they are not of one "
                    "network; fetch the bundle again"
                )
    if not np.isfinite(loss).all() or not session.gradients_usable():
        raise BundleError(
            f"the first step on the bundle's own samples has loss {float(loss[0])}, and it or a gradient is not finite: refused"
        )
    session.apply()
    session.end_collecting()
    if (wrong := session.not_finite()) is not None:
        raise BundleError(f"after the first step on the bundle's own samples {wrong!r} is not finite: refused")


def _note(identity: str, backend: str) -> Path | None:
    """The file that says this bundle passed with this runtime; None where the system has no place for it."""
    how = runtime.plain().__version__ if backend == ORT_TRAINING else f"{backend}-{runtime.plain().__version__}"
    given = os.environ.get("MENTEE_DEVICE_CACHE")
    try:
        folder = Path(given) if given else _caches() / "mentee-device"
    except RuntimeError:  # no home
        return None
    return folder / f"{identity}-{CHECKS}-{how}.{PASSED}"


def _is_there(note: Path) -> bool:
    try:
        return note.is_file()
    except OSError:  # a home that this user may not look into
        return False


def _caches() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
