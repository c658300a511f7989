"""Peak memory, and seconds to the first step, over N generated photos: a first start, which decodes them, and a second.

    python -m benchmarks.data.many_photos                    1,000 and 10,000 photos
    python -m benchmarks.data.many_photos 100000 --at DISK   4 GB of files there, which are removed at the end

The photos are JPEGs of 256 px, read at 64 px. A run prepares as `mentee-distill` does, with a mentor from a file, and is stopped
after 50 steps. Memory is the largest resident set of the process, and of the largest of those that it began; importing torch and
Lightning alone takes the first line's.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE, SIZE, CLASSES, STEPS = 256, 64, 10, 50


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data.many_photos")
    parser.add_argument("counts", nargs="*", type=int, default=[1000, 10_000], metavar="N")
    parser.add_argument("--at", type=Path, help="folder for the photos and what is decoded of them")
    given = parser.parse_args()
    header = ("start", "to the first step", "peak of the process", "of its largest child", "on disk")
    print(f"{'photos':>8}  {header[0]:6}  {header[1]:>17}  {header[2]:>19}  {header[3]:>20}  {header[4]}")
    for count in given.counts:
        with tempfile.TemporaryDirectory(dir=given.at) as folder:
            generate(Path(folder) / "photos", count)
            for start in ("first", "second"):
                figures = measured(Path(folder))
                print(
                    f"{count:>8,}  {start:6}  {figures['seconds']:>15.1f} s  {figures['peak_mb']:>16,.0f} MB  "
                    f"{figures['child_mb']:>17,.0f} MB  {figures['disk_mb']:,.0f} MB",
                    flush=True,
                )


def generate(folder: Path, count: int) -> None:
    for label in range(CLASSES):
        (folder / f"class{label}").mkdir(parents=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(photo, [folder] * count, range(count), chunksize=100))


def photo(folder: Path, number: int) -> None:
    """A blurred pattern: as large as a photo of its size, some 20 to 40 kB."""
    random = np.random.default_rng(number)
    coarse = Image.fromarray(random.integers(0, 256, (48, 48, 3), dtype=np.uint8))
    path = folder / f"class{number % CLASSES}" / f"{number:07}.jpg"
    coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path, quality=92)


def measured(folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.data.many_photos_child", str(folder), str(time.time())]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    stored = sum(path.stat().st_size for path in (folder / "cache").rglob("*.block"))
    return figures | {"disk_mb": stored / 1e6}


def peak_mb(whose: int) -> float:
    return resource.getrusage(whose).ru_maxrss / 1024


if __name__ == "__main__":
    main()
