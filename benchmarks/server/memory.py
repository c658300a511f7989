"""Peak memory of whole runs: a lone mentee, one under a mentor whose answers are cached, one that asks it at each step.

    python -m benchmarks.server.memory [--samples 2048 8192]
    python -m benchmarks.server.memory --rows probes samples views workers     the rows of benchmarks.server.epochs

Random images of 3×32×32, batch 64, three epochs, one thread; resnet18 and resnet50 to a residual mentee. A process each; its
largest resident set (VmHWM of /proc, looked at 50 times a second: Linux only), and the same less that of a process that only
imports torch and Lightning. Mapped files of the cache count as long as they are in use.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.server.epochs import ROWS, Row, shared

RUNS = {
    "lone": "schedule=alone probes=none",
    "under the mentor, first": "",
    "under the mentor, cached": "",
    "under the mentor, asked": "cache.answers=false",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server.memory")
    parser.add_argument("--samples", type=int, nargs="+", default=[2048, 8192])
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), metavar="ROWS")
    given = parser.parse_args()
    if given.rows:
        growth([row for name in given.rows for row in ROWS[name]])
    else:
        by_samples(given.samples)


def by_samples(counts: list[int]) -> None:
    imports = peak(["-c", "import torch, torchvision, pytorch_lightning, onnx"])
    print(f"imports alone: {imports:,.0f} MB")
    print(f"{'mentor':9} {'samples':>8}  {'run':25} peak MB  above the imports")
    with TemporaryDirectory() as folder:
        for mentor in ("resnet18", "resnet50"):
            for samples in counts:
                common = shared(Row("", mentor=mentor, samples=samples), Path(folder))
                for name, settings in RUNS.items():
                    words = [*common, *settings.split(), f"run_dir={folder}/run"]
                    megabytes = peak(["-m", "distill", *words])
                    print(
                        f"{mentor:9} {samples:8,}  {name:25} {megabytes:7,.0f}  {megabytes - imports:17,.0f}",
                        flush=True,
                    )


def growth(rows: list[Row]) -> None:
    """Measures each row's lone run, and its run under cached answers; workers are processes of their own, and not counted."""
    print(f"{'under the mentor':28}  lone, MB  cached, MB  more, MB")
    with TemporaryDirectory() as folder:
        for row in rows:
            common = [*shared(row, Path(folder)), f"run_dir={folder}/run"]
            lone = peak(["-m", "distill", *common, "schedule=alone", "probes=none", *row.lone.split()])
            _, cached = (peak(["-m", "distill", *common, *row.settings.split()]) for _ in range(2))
            print(f"{row.name:28}  {lone:8,.0f}  {cached:10,.0f}  {cached - lone:8,.0f}", flush=True)


def peak(arguments: list[str]) -> float:
    """MB of the process's largest resident set; `ru_maxrss` would begin at that of the process that starts it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    most = 0
    while process.poll() is None:
        with contextlib.suppress(OSError, ValueError):
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
            most = max(most, int(status.partition("VmHWM:")[2].split()[0])) if "VmHWM:" in status else most
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {process.returncode}")
    return most / 1024


if __name__ == "__main__":
    main()
