"""Bytes of a bundle beside its mentee's float32 parameters and its packs, by network, and what the rest is.

    python -m benchmarks.bundles.size

Exports untrained mentees for the digits data (no download; a bundle's size does not depend on what was learnt), for both
backends and for each; for ONNX Runtime Training also with a nominal checkpoint, with only the head training, and with an int8
variant. A test holds nets of 100,000 parameters and more to 1.35 for both and 1.2 for one. Of eval_model.onnx, which holds what
is frozen, the graph alone counts as rest.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from export.bundle.write import export_bundle
from export.network.costs import FLOAT
from export.schema import ExportSettings
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.data.load import load_data
from mentor_mentee.data.views.view import View, normalisation
from mentor_mentee.objective.taps import find_head
from mentor_mentee.recipe import build

DATA = {"_target_": "mentor_mentee.data.datasets.digits"}
MENTEES: dict[str, dict[str, Any]] = {
    "plain 19k": {"_target_": "mentee.networks.PlainCNN", "widths": [32, 64]},
    "plain 111k": {"_target_": "mentee.networks.PlainCNN", "widths": [32, 64, 160]},
    "residual": {"_target_": "mentee.networks.ResidualCNN"},
    "inverted residual": {"_target_": "mentee.networks.InvertedResidualCNN"},
}
MENTOR = {"_target_": "mentor.networks.ResidualNet", "in_channels": 1, "num_classes": 10, "widths": [8, 16]}
ARMS: dict[str, dict[str, Any]] = {
    "both": {},
    "stock": {"backend": "stock"},
    "training": {"backend": "ort-training"},
    "nominal": {"backend": "ort-training", "nominal_checkpoint": True},
    "head only": {"backend": "ort-training", "trainable": "head"},
    "int8 too": {"backend": "ort-training", "int8": True},
}
PACKS = ("supervision.safetensors", "golden.safetensors")


def main() -> None:
    torch.set_num_threads(1)
    print(
        f"{'mentee':20}{'weights':10}{'parameters':>12}{'packs':>9}{'bundle':>12}{'ratio':>7}  largest of the rest, bytes"
    )
    with tempfile.TemporaryDirectory() as scratch:
        for name, recipe in MENTEES.items():
            checkpoint = untrained(recipe, Path(scratch))
            for arm, settings in ARMS.items():
                path = Path(scratch) / f"{name}-{arm}".replace(" ", "-")
                with quiet_failure(name, arm):
                    made = export_bundle(checkpoint, path, replace(ExportSettings(supervision_per_class=5), **settings))
                    print(f"{name:20}{arm:10}{row(made.manifest)}", flush=True)


@contextmanager
def quiet_failure(name: str, arm: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # one net that cannot be exported must not hide the others' figures
        print(f"{name:20}{arm:10}  {type(error).__name__}: {error}")


def row(manifest: dict[str, Any]) -> str:
    sizes = {name: entry["bytes"] for name, entry in manifest["files"].items()}
    packs, total, weights = sum(sizes.pop(name) for name in PACKS), 0, manifest["parameters"]["bytes"]
    total = sum(sizes.values()) + packs
    costs = manifest["costs"]
    if "checkpoint" in manifest:
        sizes["ort-training/eval_model.onnx"] -= FLOAT * (costs["parameters"] - costs["trainable"])
    checkpoint = manifest.get("checkpoint", {"file": "stock/state.safetensors"})
    held = checkpoint.get("parameters", checkpoint["file"])
    rest = sorted(((size, name) for name, size in sizes.items() if name != held), reverse=True)[:3]
    said = ", ".join(f"{name.rpartition('/')[2]} {size:,}" for size, name in rest)
    count = manifest["parameters"]["count"]
    return f"{count:>12,}{packs:>9,}{total:>12,}{total / (weights + packs):>7.2f}  {said}"


def untrained(recipe: dict[str, Any], folder: Path) -> MenteeCheckpoint:
    splits = load_data(DATA, whole=True)
    view = View(splits.shape, *normalisation(splits.train))
    torch.manual_seed(0)
    whole = {**recipe, "in_channels": 1, "num_classes": 10}
    mentee, mentor = build(whole, "this benchmark"), build(MENTOR, "this benchmark")
    save_file({key: value.contiguous() for key, value in mentor.state_dict().items()}, folder / "mentor.safetensors")
    return MenteeCheckpoint(
        recipe=whole,
        state=mentee.state_dict(),
        head=find_head(mentee, view(splits.train.images[:2])),
        view=view,
        classes=splits.classes,
        probes=(),
        mentor={"network": MENTOR, "weights": str(folder / "mentor.safetensors"), "view": asdict(view)},
        data=DATA,
        accuracy={},
    )


if __name__ == "__main__":
    main()
