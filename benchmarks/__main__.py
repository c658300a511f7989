"""`make bench`: every figure that the README states, that needs no data set, measured on what the demo made (made first where it
is missing). About an hour; each script runs alone as well."""

import subprocess
import sys
from pathlib import Path

DEMO = Path("runs/demo")


def main() -> int:
    bundle, checkpoint = DEMO / "seed1" / "bundle", DEMO / "seed1" / "supervised" / "mentee.safetensors"
    if not (bundle.is_dir() and checkpoint.is_file()):
        subprocess.run([sys.executable, "-m", "demo", "--out", str(DEMO)], check=True)
    for command in (
        ["benchmarks.startup"],
        ["benchmarks.server_step"],
        ["benchmarks.device_step", str(bundle), str(checkpoint)],
        ["benchmarks.step_time"],
        ["benchmarks.trainable_models"],
        ["benchmarks.bundle_size"],
        ["benchmarks.steady", str(bundle)],
        ["benchmarks.kills", str(bundle)],
    ):
        print(f"\n$ python -m {' '.join(command)}", flush=True)
        subprocess.run([sys.executable, "-m", *command], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
