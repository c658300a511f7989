"""The device program as its users run it: a process of its own, that finds device/ and no other folder of the project."""

import os
import sys

from tests.paths import DEVICE

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(DEVICE)}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "mentee_device", *map(str, arguments)]
