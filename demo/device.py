"""The device: another process, in an environment that has neither torch nor onnx nor this project."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from mentor_mentee.data.splits import Split
from mentor_mentee.errors import UserError


def device_python(given: str | None) -> Path:
    """`given`, or the device environment that `make env` puts inside this one. Raises `UserError` where there is none."""
    python = Path(given) if given else Path(sys.prefix) / "device" / "bin" / "python"
    if not python.is_file():
        raise UserError(
            f"no device environment at '{python}'; make it with `make env`, or name its python: --device-python …"
        )
    return python


def device(python: Path, command: str, bundle: Path, **options: object) -> dict[str, Any]:
    """`mentee-device <command>` as its own process; what it reports, as a dict. Raises `UserError` with its message."""
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    done = subprocess.run(
        [str(python), "-I", "-m", "mentee_device", command, "--bundle", str(bundle), *flags, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise UserError(f"the device process failed ({done.returncode}): {done.stderr.strip() or 'no message'}")
    report: dict[str, Any] = json.loads(done.stdout)
    if report["torch_importable"] or report["onnx_importable"]:
        raise UserError(
            f"'{python}' can import torch or onnx, so it stands for no phone; make the environment with `make env`"
        )
    return report


def write_samples(split: Split, path: Path) -> Path:
    """`input` and `labels` as the device program reads them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, input=split.images.numpy(), labels=split.labels.numpy())
    return path
