"""Memory and cold start of learning with stock graphs, beside ONNX Runtime Training: a process of its own each, without torch.

    python -m benchmarks.speed.stock_memory [NETWORK …] [--batches 8 32] [--with FOLDER]

FOLDER: another onnxruntime (`pip install --target FOLDER`) for the stock graphs. The peak is that of the resident set, read
after 20 steps; cold start is from the process's beginning to the end of its first step, the fastest of five.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.device_step import machine

STEPS, STARTS = 20, 5
CHILD = """
import sys, time
started = float(open("/proc/uptime").read().split()[0])
folder, kind, feeds = sys.argv[1:4]
import importlib.util, os
from types import ModuleType
stand_in = ModuleType("onnxruntime.training")  # without its __init__, which imports torch
places = importlib.util.find_spec("onnxruntime").submodule_search_locations
stand_in.__path__ = [os.path.join(place, "training") for place in places]
sys.modules.update({"onnxruntime.training": stand_in, "onnxruntime.training.ortmodule": None, "torch": None})
import numpy as np
given = [dict(np.load(f"{feeds}/{number}.npz")) for number in range(2)]
if kind == "stock":
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    def opened(name):
        return ort.InferenceSession(f"{folder}/{name}.onnx", options, providers=["CPUExecutionProvider"])
    learn, step = opened("gradients"), opened("optimizer")
    import json
    raw = open(f"{folder}/state.safetensors", "rb").read()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    state = {}
    for name in ("parameters", "statistics"):
        if name in header:
            first, last = header[name]["data_offsets"]
            state[name] = np.frombuffer(raw[start + first : start + last], "<f4").copy()
    held = {name: ort.OrtValue.ortvalue_from_numpy(value) for name, value in state.items()}
    P = state["parameters"].size
    for name in ("moment1", "moment2", "gradient"):
        held[name] = ort.OrtValue.ortvalue_from_numpy(np.zeros(P, np.float32))
    held["learning_rate"] = ort.OrtValue.ortvalue_from_numpy(np.full(1, 1e-4, np.float32))
    def bound(session, feeds):
        binding = session.io_binding()
        every = {**held, **{name: ort.OrtValue.ortvalue_from_numpy(value) for name, value in feeds.items()}}
        for port in session.get_inputs():
            binding.bind_ortvalue_input(port.name, every[port.name])
        for port in session.get_outputs():
            name = port.name.removeprefix("new_")
            binding.bind_ortvalue_output(port.name, held[name]) if name in held else binding.bind_output(port.name)
        return binding
    def take(number):
        learn.run_with_iobinding(bound(learn, given[number % 2]))
        step.run_with_iobinding(bound(step, {"step": np.full(1, number + 1, np.float32)}))
else:
    import onnxruntime as ort
    from onnxruntime.training.api import CheckpointState, Module, Optimizer
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    state = CheckpointState.load_checkpoint(f"{folder}/checkpoint")
    module = Module(f"{folder}/training_model.onnx", state, f"{folder}/eval_model.onnx", session_options=options)
    optimizer = Optimizer(f"{folder}/optimizer_model.onnx", module)
    module.train()
    def take(number):
        module(*given[number % 2].values())
        optimizer.step()
        module.lazy_reset_grad()
take(0)
first = float(open("/proc/uptime").read().split()[0])
def memory(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) / 1024
loaded = memory("VmHWM")
for number in range(1, 20):
    take(number)
print(first - started, loaded, memory("VmHWM"))
"""


def measured(folder: Path, kind: str, feeds: Path, path: str | None) -> tuple[float, float]:
    """(seconds to the end of the first step, MiB at the peak)"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} | ({"PYTHONPATH": path} if path else {})
    command = [sys.executable, "-c", CHILD, str(folder), kind, str(feeds)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    seconds, _, peak = map(float, done.stdout.split())
    return seconds, peak


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed.stock_memory", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("networks", nargs="*", metavar="NETWORK")
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--with", dest="path", metavar="FOLDER", help="of another onnxruntime for the stock graphs")
    given = parser.parse_args()
    from benchmarks.speed.stock_step import MADE, Made

    print(machine())
    print(f"python -m benchmarks.speed.stock_memory {' '.join(sys.argv[1:])}\n")
    print(
        "| network | batch | training, MiB | stock, MiB | ratio | cold start: training | stock |\n|---|---|---|---|---|---|---|",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as scratch:
        for name in given.networks or list(MADE):
            made = Made(name, Path(scratch) / name, training=True)
            for batch in given.batches:
                feeds = Path(scratch) / f"{name}-{batch}"
                feeds.mkdir()
                for number, feed in enumerate(made.feeds(batch)[:2]):
                    arrays: Any = {key: value.numpy() for key, value in feed.named().items()}
                    np.savez(feeds / str(number), **arrays)
                ways = {"training": (made.training, None), "stock": (made.stock, given.path)}
                seen = {
                    kind: [measured(folder, kind, feeds, path) for _ in range(STARTS)]
                    for kind, (folder, path) in ways.items()
                }
                peak = {kind: min(mib for _, mib in each) for kind, each in seen.items()}
                start = {kind: min(seconds for seconds, _ in each) for kind, each in seen.items()}
                cells = [
                    name,
                    str(batch),
                    f"{peak['training']:.0f}",
                    f"{peak['stock']:.0f}",
                    f"{peak['stock'] / peak['training']:.2f}",
                ]
                cells += [f"{start[kind]:.2f} s" for kind in ("training", "stock")]
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
