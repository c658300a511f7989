"""Opens damaged and hostile bundles by the thousand: each must work as its base does or be refused in one line.

    python -m benchmarks.crashes.bundles BUNDLE --mutants 2000 --seed 1
    python -m benchmarks.crashes.bundles BUNDLE --seed 1 --only 17      one of them, with all that it raised
    python -m benchmarks.crashes.bundles BUNDLE --control               without the walk over graphs and without the first opening

BUNDLE is a folder that `python -m export` made; of one for both backends every other mutant is used on the other one. mutants/
says what is done to it. In a process of its own a mutant is opened, asked about the golden set, and learns two steps as an
owner's program does, with warnings as errors. What must not happen: a crash (a signal), a hang, a traceback, an error of several
lines, and silence: a bundle that opens and learns though it answers other than its base.
"""

import argparse
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mentee_device import (
    Budget,
    Bundle,
    BundleError,
    Learner,
    LearningError,
    Owner,
    Plan,
    RuntimeMissing,
    SampleError,
    Samples,
    SettingError,
    StateError,
)
from mentee_device.bundle import archive
from mentee_device.core import child, opening
from mentee_device.core import learner as learner_module

from benchmarks.crashes.mutants.bundles import KINDS, KINDS_OF_STOCK, Mutant, make

MISTAKES = (BundleError, StateError, SampleError, LearningError, SettingError, RuntimeMissing)
WORKS, REFUSED = "works", "refused"
BAD = ("crash", "hang", "traceback", "several lines", "silent")
PATIENCE = 90.0  # seconds, on a machine that does other things as well
LONGEST = 1500  # characters of a line
CLOSE = 0.05  # of a loss term, relative


@dataclass(frozen=True)
class Base:
    """The unharmed bundle on a backend: raw golden samples with labels, how many are right, terms of its first step."""

    backend: str
    golden: Samples
    hits: int
    terms: dict[str, float]


def base_of(folder: Path, backend: str) -> Base:
    with Bundle.open(folder) as bundle, Learner(bundle, backend=backend) as learner:
        golden = bundle.golden()
        hits = int((learner.predict(golden.input, checked=True).logits.argmax(1) == golden.labels).sum())
        return Base(backend, golden, hits, terms_of(learner))


def terms_of(learner: Learner) -> dict[str, float]:
    replay = learner.bundle.supervision().take(np.arange(8))
    return learner.learn_batch(replay.samples, replay)


def life(path: Path, state: Path, base: Base, shared: bool) -> tuple[str, str]:
    """An owner's program on the bundle at `path`: verdict and why. `shared`: the manifest says how it differs from its base."""
    with Bundle.open(path) as bundle:
        with Owner(bundle, state, backend=base.backend) as me:
            answers = me.learner.predict(base.golden.input, checked=True).logits
            if not np.isfinite(answers).all():
                return "silent", "answers are not finite"
            me.add(base.golden.take(np.arange(4)))
            me.learn(Plan(budget=Budget(steps=2), rounds=0))
        with Learner(bundle, backend=base.backend) as learner:
            terms = terms_of(learner)
    hits = int((answers.argmax(1) == base.golden.labels).sum())
    second, first = np.sort(answers, axis=1)[:, -2:].T
    ties = int((first - second <= 1e-3 * np.abs(first)).sum())
    if abs(hits - base.hits) > ties:
        return "silent", f"right on {hits} golden samples, the base on {base.hits}"
    for name, value in base.terms.items():
        if not shared and not abs(terms.get(name, np.nan) - value) <= CLOSE * max(abs(value), 0.01):
            return "silent", f"{name} is {terms.get(name)}, the base's {value}"
    return WORKS, ""


def judged(mutant: Mutant, base: Base, scratch: Path) -> tuple[str, str]:
    """Verdict of a child process, and what it said."""
    readable, writable = os.pipe()
    number = os.fork()
    if number == 0:
        _in_child(mutant, base, scratch, writable)
    os.close(writable)
    said, ends = b"", time.monotonic() + PATIENCE
    while (left := ends - time.monotonic()) > 0:
        if select.select([readable], [], [], left)[0]:
            part = os.read(readable, 65536)
            said += part
            if not part:
                break
    os.close(readable)
    if left <= 0:
        os.kill(number, signal.SIGKILL)
    _, status = os.waitpid(number, 0)
    code = os.waitstatus_to_exitcode(status)
    if left <= 0:
        return "hang", f"nothing after {PATIENCE:g} s"
    if code < 0:
        return "crash", signal.Signals(-code).name
    verdict, why = json.loads(said) if said else ("traceback", f"the process ended with {code}")
    return verdict, why


def _in_child(mutant: Mutant, base: Base, scratch: Path, writable: int) -> None:
    try:
        warnings.simplefilter("error")
        opening._tried.clear()
        child.MEMORY, child.CPU_SECONDS, child.WALL_SECONDS = 1 << 29, 8, 60.0
        os.environ["MENTEE_DEVICE_CACHE"] = str(scratch / "cache")
        quiet = os.open(os.devnull, os.O_RDWR)
        os.dup2(quiet, 2)
        try:
            result = life(mutant.path, scratch / "state", base, mutant.says_so)
        except MISTAKES as error:
            long = "\n" in str(error).strip() or len(str(error)) > LONGEST
            result = ("several lines" if long else REFUSED, str(error))
        except BaseException:
            result = ("traceback", traceback.format_exc())
        os.write(writable, json.dumps((result[0], result[1][-4 * LONGEST :])).encode())
    finally:
        os._exit(0)


def unguarded() -> None:
    """The control: what would come through."""
    vars(archive)["check_graphs"] = lambda folder, manifest: None
    vars(learner_module)["require_tried"] = lambda bundle, threads, backend: None


def sweep(folder: Path, mutants: int, seed: int, only: int | None = None, say: bool = True) -> dict[str, Any]:
    """Counts by kind and verdict, and every failure."""
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in (*KINDS, *KINDS_OF_STOCK)}
    failures = []
    with Bundle.open(folder) as bundle:
        backends = bundle.manifest.backends
    with tempfile.TemporaryDirectory() as cache:
        os.environ["MENTEE_DEVICE_CACHE"] = cache
        bases = [base_of(folder, backend) for backend in backends]
    began = spoke = time.monotonic()
    for number in [only] if only is not None else range(mutants):
        with tempfile.TemporaryDirectory(prefix="mutant-") as place:
            scratch = Path(place)
            mutant = make(folder, scratch / "bundle", seed, number)
            base = bases[number % len(bases)]
            verdict, why = judged(mutant, base, scratch)
            if only is not None:
                print(mutant, verdict, why, sep="\n")
            shutil.rmtree(scratch / "state", ignore_errors=True)
        counts[mutant.kind][verdict] += 1
        if verdict in BAD:
            failures.append(
                {
                    "number": number,
                    "backend": base.backend,
                    "kind": mutant.kind,
                    "what": mutant.what,
                    "verdict": verdict,
                    "why": why,
                }
            )
        if say and time.monotonic() > spoke + 10:
            spoke = time.monotonic()
            print(
                f"{number + 1} of {mutants}, {len(failures)} failures, {spoke - began:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    return {"seed": seed, "counts": counts, "failures": failures, "seconds": time.monotonic() - began}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--mutants", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="number of the one mutant to try")
    parser.add_argument("--control", action="store_true", help="without the guards: it must fail")
    given = parser.parse_args()
    if given.control:
        unguarded()
    found = sweep(given.bundle, given.mutants, given.seed, given.only)
    verdicts = [WORKS, REFUSED, *BAD]
    print(f"| seed {given.seed} | {' | '.join(verdicts)} |\n|---|{'---|' * len(verdicts)}")
    whole: Counter[str] = Counter()
    for kind, counted in found["counts"].items():
        if not counted:
            continue
        whole.update(counted)
        print(f"| {kind} | {' | '.join(str(counted[name]) for name in verdicts)} |")
    print(f"| all | {' | '.join(str(whole[name]) for name in verdicts)} |")
    print(f"{sum(whole.values())} mutants in {found['seconds']:.0f} s")
    for one in found["failures"]:
        print(json.dumps(one))
    return 1 if found["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
