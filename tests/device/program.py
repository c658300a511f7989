"""The device program as its users run it: a process of its own, that finds device/ and no other folder of the project."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "device")}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "mentee_device", *map(str, arguments)]
