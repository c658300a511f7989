"""The run that `many_photos` measures: begins a training on a folder, and ends it after some steps.

python -m benchmarks.data.many_photos_child FOLDER TIME
"""

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.data.many_photos import CLASSES, SIZE, STEPS, peak_mb


def main() -> None:
    folder, began = Path(sys.argv[1]), float(sys.argv[2])
    from distill.check import check_distill, require_files
    from distill.schema import DistillConfig, FitConfig, MenteeConfig, MentorConfig

    network = {"_target_": "mentor.networks.ResidualNet", "widths": [8, 16], "in_channels": 3, "num_classes": CLASSES}
    config = DistillConfig(
        mentor=MentorConfig(network=network, weights=str(folder / "mentor.safetensors"), least_accuracy=0),
        mentee=MenteeConfig(network={"_target_": "mentee.networks.PlainCNN", "widths": [8, 16]}),
        data={
            "_target_": "mentor_mentee.data.image_folder.image_folder",
            "root": str(folder / "photos"),
            "size": SIZE,
            "memory_mb": 0,
            "cache": str(folder / "cache"),
        },
        schedule={
            "_target_": "distill.schedules.constant",
            "alpha": 1.0,
            "beta": 0.0,
            "gamma": 1.0,
            "temperature": 2.0,
        },
        probes={"_auto_": False},
        trainer=FitConfig(max_epochs=1, steps_per_epoch=2 * STEPS, batch=64),
        run_dir=str(folder / "run"),
        cache_dir=str(folder / "mentors"),
        accelerator="cpu",
    )
    if not (folder / "mentor.safetensors").exists():
        write_mentor(folder / "mentor.safetensors", network)
    check_distill(config)
    require_files(config)
    from distill.machine import Machine, keep_freed_memory
    from distill.run import distill
    from distill.training.module import Distillation

    keep_freed_memory()  # as the command does
    step, seconds = Distillation.training_step, list[float]()

    def timed(self: Distillation, *given: Any) -> dict[str, Any]:
        found = step(self, *given)
        seconds.append(time.time() - began)
        if len(seconds) == STEPS:
            peaks = {"peak_mb": peak_mb(resource.RUSAGE_SELF), "child_mb": peak_mb(resource.RUSAGE_CHILDREN)}
            print(json.dumps({"seconds": seconds[0], **peaks}), flush=True)
            os._exit(0)
        return found

    Distillation.training_step = timed  # type: ignore[method-assign, assignment]
    from rich.console import Console

    distill(config, Machine("cpu", None, Console(stderr=True)))


def write_mentor(path: Path, network: dict[str, Any]) -> None:
    import torch
    from safetensors.torch import save_file

    from mentor_mentee.recipe import build

    torch.manual_seed(0)
    save_file(build(network, "this benchmark").state_dict(), path)


if __name__ == "__main__":
    main()
