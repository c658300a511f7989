"""Time and memory over ten thousand steps in one process of the device program, and its cold start.

    python -m benchmarks.speed.steady BUNDLE [--steps 10000]

Everything runs in the device environment (`make env`), in processes of their own on one thread. The long run is one
`Owner.learn` of batches of 8 + 8, the unfinished run saved every 20 steps as it is by default; its steps are cut into tenths,
and a line is laid through the ten medians (and the ten resident sizes) by least squares: flat is a slope that is small against
the level. A cold start is a fresh process, files in the page cache: from its start to the first answer.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.device_process import memory_mib, told


def cold(bundle: Path, folder: Path, started: float) -> dict[str, float]:
    """Seconds to the first answer of an owner's current version, and of the bundle alone where there is no folder."""
    from mentee_device import Bundle, Learner, Owner

    with Bundle.open(bundle) as opened:
        input = opened.golden().input[:1]
        with Owner(opened, folder) if folder.exists() else Learner(opened) as mentee:
            mentee.predict(input)
            cpu = time.process_time()
            return {"seconds": time.time() - started, "cpu": cpu, "peak_mb": memory_mib("VmHWM")}


def long(bundle: Path, folder: Path, steps: int) -> dict[str, list[float]]:
    """A row for each tenth of the run: median milliseconds a step, mean with saving (of the clock, of the processor), and
    resident MB at its end."""
    from mentee_device import Budget, Bundle, Owner, Plan, Progress

    tenth = steps // 10
    marks: list[tuple[float, float, float]] = []

    with Bundle.open(bundle) as opened, Owner(opened, folder) as owner:
        owner.set(golden_drop=1.0)
        golden = opened.golden()
        owner.add(golden)

        def on_progress(progress: Progress) -> None:
            if progress.done.steps % tenth == 0:
                marks.append((time.perf_counter(), time.process_time(), memory_mib("VmRSS")))

        began = (time.perf_counter(), time.process_time())
        result = owner.learn(Plan(budget=Budget(steps=10 * tenth)), on_progress=on_progress)
    return {
        "median_ms": [statistics.median(result.milliseconds[at : at + tenth]) for at in range(0, 10 * tenth, tenth)],
        "mean_ms_with_saving": per_step(began[0], [clock for clock, *_ in marks], tenth),
        "mean_cpu_ms_with_saving": per_step(began[1], [cpu for _, cpu, _ in marks], tenth),
        "resident_mb": [size for *_, size in marks],
        "peak_mb": [memory_mib("VmHWM")],
        "folder_mb": [sum(path.stat().st_size for path in folder.iterdir()) / 2**20],
    }


def per_step(began: float, ends: list[float], steps: int) -> list[float]:
    return [1e3 * (later - earlier) / steps for earlier, later in zip([began, *ends], ends, strict=False)]


def slope(values: list[float]) -> float:
    """Rise of the least-squares line from the first to the last value of the run."""
    n = len(values)
    middle, mean = (n - 1) / 2, statistics.mean(values)
    rise = sum((at - middle) * (value - mean) for at, value in enumerate(values))
    return rise / sum((at - middle) ** 2 for at in range(n)) * (n - 1)


def run(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = told("benchmarks.speed.steady", *arguments, "--started", repr(time.time()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.steady", description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--cold", type=int, default=7, metavar="N", help="cold starts of each kind")
    parser.add_argument("--what", choices=("cold", "long"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.what == "cold":
        print(json.dumps(cold(given.bundle, given.folder, given.started)))
        return
    if given.what == "long":
        print(json.dumps(long(given.bundle, given.folder, given.steps)))
        return
    manifest = json.loads((given.bundle / "manifest.json").read_text())
    print(f"bundle {manifest['id'][:12]}, {manifest['parameters']['count']} parameters")
    print(f"python -m benchmarks.speed.steady {' '.join(sys.argv[1:])}\n", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "me"
        found = run(given.bundle, "--what", "long", "--folder", folder, "--steps", given.steps)
        for name, values in found.items():
            print(f"{name:>24}  {'  '.join(f'{value:.2f}' for value in values)}")
            if len(values) > 1:
                print(f"{'':>24}  over the run {slope(values):+.2f} ({slope(values) / statistics.mean(values):+.1%})")
        for what, place in (("the bundle", Path(scratch) / "none"), ("an owner's folder", folder)):
            starts = [run(given.bundle, "--what", "cold", "--folder", place) for _ in range(given.cold + 1)][1:]
            seconds, cpu, peaks = ([one[key] for one in starts] for key in ("seconds", "cpu", "peak_mb"))
            print(
                f"cold start to the first answer of {what}: {statistics.median(seconds):.3f} s (max {max(seconds):.3f}, "
                f"n = {given.cold}), {statistics.median(cpu):.3f} s of the processor, peak {max(peaks):.0f} MB"
            )


if __name__ == "__main__":
    main()
