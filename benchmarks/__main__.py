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
        ["benchmarks.speed.startup"],
        ["benchmarks.speed.server_step"],
        ["benchmarks.speed.device_step", str(bundle), str(checkpoint)],
        ["benchmarks.speed.step_time"],
        ["benchmarks.bundles.trainable_models"],
        ["benchmarks.bundles.bundle_size"],
        ["benchmarks.speed.steady", str(bundle)],
        ["benchmarks.crashes.kills", str(bundle)],
    ):
        print(f"\n$ python -m {' '.join(command)}", flush=True)
        subprocess.run([sys.executable, "-m", *command], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
