"""The device: another process, in an environment that has neither torch nor onnx nor this project."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from demo.cache import cached_json, save_json
from demo.mentees import CHECKPOINT
from demo.owner import People
from distill.schema import DistillConfig
from export.bundle.write import export_bundle
from export.schema import ExportSettings
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.data.splits import Split
from mentor_mentee.errors import UserError

LEARNING = {"steps": 100, "batch": 16, "replay_batch": 16, "replay": "mentor"}
ARMS: dict[str, dict[str, float]] = {
    "device": {},  # replayed samples with the mentor's answers, as the bundle's knobs say
    "device_replay_only": {"beta": 0, "gamma": 0},  # the same samples with their labels alone: what the mentor adds
    "device_owner_only": {"replay_batch": 0},
}


@dataclass(frozen=True)
class OnDevice:
    """Reports of the device processes of one seed, by arm; "exported" is the bundle before it learns."""

    accuracy: dict[str, dict[str, float]]
    milliseconds: dict[str, float]
    peak_rss_mb: float
    parity: dict[str, Any]  # of the exported graphs with torch
    bundle_bytes: int
    cached_bundle: bool  # exported by an earlier run


def on_the_device(config: DistillConfig, people: People, python: Path, key: str) -> OnDevice:
    """Exports the mentee that `config` trained, unless an earlier run did, and lets it learn on the owner's samples."""
    bundle, states = Path(config.run_dir).parent / "bundle", Path(config.run_dir).parent / "device"
    exported = export_once(config, bundle, key)
    shutil.rmtree(states, ignore_errors=True)
    learn = write_samples(people.learn, states / "learn.npz")
    parts = {
        "owner": write_samples(people.held_out, states / "held_out.npz"),
        "everybody": write_samples(people.everybody, states / "everybody.npz"),
    }
    accuracy, milliseconds, peak = {}, {}, 0.0
    for arm, options in ARMS.items():
        state = states / arm
        device(python, "settings", bundle, state=state, set="golden_drop=1")  # shows also what the guard would refuse
        chosen = {**LEARNING, **options}
        learned = device(python, "learn", bundle, state=state, data=learn, seed=config.seed, **chosen)
        milliseconds[arm] = learned["ms_per_step"]
        accuracy[arm] = {
            who: device(python, "evaluate", bundle, state=state, data=path)["accuracy"] for who, path in parts.items()
        }
        peak = max(peak, learned["peak_rss_mb"])
    accuracy["exported"] = {
        who: device(python, "evaluate", bundle, data=path)["accuracy"] for who, path in parts.items()
    }
    return OnDevice(accuracy, milliseconds, peak, **exported)


def export_once(config: DistillConfig, bundle: Path, key: str) -> dict[str, Any]:
    """The fields of `OnDevice` that are about the bundle; they are cached beside it under `key`."""
    figures = bundle.with_name("bundle.json")
    cached = cached_json(figures, key) if (bundle / "manifest.json").is_file() else None
    if cached is not None:
        return {**cached, "cached_bundle": True}
    checkpoint = MenteeCheckpoint.load(Path(config.run_dir) / CHECKPOINT)
    exported = export_bundle(checkpoint, bundle, ExportSettings(overwrite=True))
    size = sum(entry["bytes"] for entry in exported.manifest["files"].values())
    content = {"parity": exported.parity, "bundle_bytes": size}
    save_json(figures, key, content)
    return {**content, "cached_bundle": False}


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
    np.savez(path, input=split.images[:].numpy(), labels=split.labels.numpy())
    return path
