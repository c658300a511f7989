"""Seconds until `--help` and the answer to a mistake are there, beside the seconds that importing torch takes.

python -m benchmarks.speed.startup [ROUNDS]
"""

import statistics
import subprocess
import sys
import tempfile
import time

COMMANDS = {
    "import torch (for scale)": ["-c", "import torch"],
    "python -m distill --help": ["-m", "distill", "--help"],
    "python -m distill schedul=obedient": ["-m", "distill", "schedul=obedient"],
    "python -m distill mentee.network.widht=8": ["-m", "distill", "mentee.network.widht=8"],
    "python -m export checkpiont=x": ["-m", "export", "checkpiont=x"],
    "python -m distill data=mnist data.root=no": ["-m", "distill", "data=mnist", "data.root=no"],
    "python -m distill run_dir=no resume=true": ["-m", "distill", "run_dir=no", "resume=true"],
    "mentee-evaluate checkpoint=no": ["-m", "distill.evaluate.cli", "checkpoint=no"],
    "import distill.run": ["-c", "import distill.run"],
    "… and what a training imports": ["-c", "import distill.run, distill.training.fit, distill.present"],
}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):  # interleaved, so that a slow stretch of the machine hits all
            for name, command in COMMANDS.items():
                start = time.perf_counter()
                subprocess.run([sys.executable, *command], capture_output=True, check=False, cwd=folder)
                seconds[name].append(time.perf_counter() - start)
    scale = statistics.median(seconds["import torch (for scale)"])
    print(f"{'command':42}  median s   worst s  / import torch   (n = {rounds})")
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:42}  {median:8.2f}  {max(values):8.2f}  {median / scale:14.2f}")


if __name__ == "__main__":
    main()
