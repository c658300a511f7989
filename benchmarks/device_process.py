"""A process of the device program alone, on one thread: its Python, what it finds, and how much memory it took."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_INSTALLED = ROOT / ".venv" / "device" / "bin" / "python"  # `make env` made it: there is neither torch nor onnx
PYTHON = str(_INSTALLED if _INSTALLED.is_file() else sys.executable)
DEVICE = ROOT / "device" / "python"
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{DEVICE}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}


def told(module: str, *arguments: object, python: str = PYTHON) -> Any:
    """Runs `python -m module` and reads the JSON that it prints."""
    command = [python, "-m", module, *map(str, arguments)]
    return json.loads(subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.PIPE, check=True).stdout)


def memory_mib(kind: str) -> float:
    """VmRSS, what this process holds now, or VmHWM, the most it ever held (Linux)."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{kind}:"))
    return int(line.split()[1]) / 1024
