"""Mentee checkpoint -> bundle (docs/bundle.md): graph, artifacts, packs, proof, manifest; all of it or nothing."""

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from safetensors.torch import save_file
from torch import nn

from data.errors import UserError
from data.load import load_data
from data.splits import Split
from data.view import View
from export.artifacts import write_artifacts
from export.freeze import freeze_batch_norm, largest_difference
from export.graph import (
    IR_VERSION,
    OPSET,
    TrainingGraph,
    cut_inference,
    export_graph,
    input_ports,
    output_ports,
    port_json,
)
from export.packs import SupervisionPack, class_balanced, supervision_pack
from export.parity import Samples, measure, require_parity
from export.schema import ExportSettings
from mentee.checkpoint import MenteeCheckpoint
from mentor.restore import restore_mentor
from objective.probes import ProbedMentee

FORMAT = "mentee-bundle/1"
FORMULA = "alpha*CE(labels) + beta*sum_p RMSE(mentee_p, mentor_p) + gamma*T^2*KL(mentor softmax || mentee softmax)"
NO_ID = "0" * 64
FOLD_BOUND = 1e-4  # relative difference of the logits that holding BatchNorm may make in float32


@dataclass(frozen=True)
class Exported:
    path: Path
    manifest: dict[str, Any]
    parity: dict[str, Any]


def export_bundle(checkpoint: MenteeCheckpoint, path: Path, settings: ExportSettings) -> Exported:
    """Writes the bundle folder `path`, and beside it `<path>.zip`.

    Raises `UserError`, with nothing left at `path` that was not there before, where the folder is in use, the mentee
    cannot be traced, a pack cannot be filled, or ONNX Runtime does not train it as torch does.
    """
    if path.exists() and not settings.overwrite:
        raise UserError(
            f"'{path}' exists; choose another bundle=…, or overwrite=true to replace it once the new one is whole"
        )
    network = frozen_network(checkpoint)
    splits = load_data(checkpoint.data, whole=True)
    if tuple(splits.classes) != checkpoint.classes:
        raise UserError(
            f"the data has classes {splits.classes}, the checkpoint {checkpoint.classes}; use the run's data"
        )
    if checkpoint.mentor is None:
        raise UserError("the checkpoint names no mentor, so there is nobody to supervise learning on the device")
    mentor = restore_mentor(checkpoint.mentor, checkpoint.probes)
    budget = load_data(checkpoint.data).train  # with the run's label budget: what had no label there has none here
    pack = supervision_pack(balanced_pack(budget, splits.train, settings, len(splits.classes)), mentor, checkpoint.view)
    golden = class_balanced(splits.val, settings.golden_per_class, len(splits.classes), "validation split")

    student = ProbedMentee(network, checkpoint.probes, checkpoint.head).eval()
    with torch.no_grad():
        embedding = student(checkpoint.view(splits.train.images[:2])).embedding.shape[1]
    inputs = input_ports(checkpoint.view.shape, len(splits.classes), checkpoint.probes)
    outputs = output_ports(len(splits.classes), embedding, checkpoint.probes)
    graph = TrainingGraph(student)
    trainable = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    with whole_or_nothing(path) as staging:
        forward = export_graph(graph, inputs, outputs)
        onnx.save(cut_inference(forward), staging / "inference.onnx")
        (staging / "ort-training").mkdir()
        write_artifacts(forward, trainable, outputs, settings.optimizer, staging / "ort-training")
        save_file(
            {name: tensor.contiguous() for name, tensor in pack.tensors().items()}, staging / "supervision.safetensors"
        )
        save_file(
            {"input": checkpoint.view.pixels(golden.images).contiguous(), "labels": golden.labels},
            staging / "golden.safetensors",
        )
        parity = measure(
            graph,
            staging / "ort-training",
            staging / "inference.onnx",
            parity_samples(pack, checkpoint),
            outputs,
            settings.optimizer,
        )
        require_parity(parity)
        write_json(staging / "parity.json", parity)
        manifest = {
            "format": FORMAT,
            "id": NO_ID,
            "classes": list(checkpoint.classes),
            "preprocessing": {key: list(value) for key, value in asdict(checkpoint.view).items()},
            "graphs": {
                "inference": {
                    "file": "inference.onnx",
                    "inputs": [port_json(inputs[0])],
                    "outputs": [port_json(port) for port in outputs[-2:]],
                },
                **{
                    name: {
                        "file": f"ort-training/{name}_model.onnx",
                        "inputs": [port_json(port) for port in inputs],
                        "outputs": [port_json(port) for port in outputs],
                    }
                    for name in ("training", "eval")
                },
                "optimizer": optimizer_ports(staging / "ort-training" / "optimizer_model.onnx"),
            },
            "checkpoint": {"file": "ort-training/checkpoint"},
            "embedding": {"layer": checkpoint.head, "size": embedding},
            "probes": [
                {
                    "name": probe.name,
                    "mentee": probe.mentee,
                    "mentor": probe.mentor,
                    "adapter": "slice",
                    "shape": list(probe.adapter.shape),
                }
                for probe in checkpoint.probes
            ],
            "loss": {"formula": FORMULA, **asdict(settings.loss)},
            "optimizer": {"name": "AdamW", **asdict(settings.optimizer)},
            "trainable": trainable,
            "frozen": [name for name, parameter in network.named_parameters() if not parameter.requires_grad],
            "parameters": {
                "count": sum(parameter.numel() for parameter in network.parameters()),
                "bytes": 4 * sum(parameter.numel() for parameter in network.parameters()),
            },
            "batch_norm": "frozen",
            "base": {
                "test": accuracy_of(staging / "inference.onnx", splits.test, checkpoint.view),
                "golden": accuracy_of(staging / "inference.onnx", golden, checkpoint.view),
            },
            "supervision": {"file": "supervision.safetensors", "samples": len(pack.labels_N)},
            "golden": {"file": "golden.safetensors", "samples": len(golden)},
            "made_with": made_with(),
        }
        manifest["files"] = file_table(staging)
        manifest = write_manifest(staging / "manifest.json", manifest)
    zip_folder(path, path.with_name(path.name + ".zip"))
    return Exported(path, manifest, parity)


def frozen_network(checkpoint: MenteeCheckpoint) -> nn.Module:
    """The mentee as it will be on the device. Raises `UserError` where holding BatchNorm changed what it computes."""
    network = checkpoint.network()
    tapped = {probe.mentee for probe in checkpoint.probes}
    frozen = freeze_batch_norm(network, tapped)
    difference = largest_difference(network, frozen, torch.randn(8, *checkpoint.view.shape))
    if not difference <= FOLD_BOUND:
        raise UserError(
            f"folding BatchNorm changes the mentee's logits by {difference:.1e} (at most {FOLD_BOUND:.0e}); has a running "
            "variance collapsed to 0? Distill with batch_norm=false, or for longer"
        )
    return frozen


def balanced_pack(budget: Split, whole: Split, settings: ExportSettings, classes: int) -> Split:
    """Labelled samples of the run's budget first; where it has too few of a class, unlabelled ones for the mentor to answer."""
    pack = class_balanced(budget, settings.supervision_per_class, classes, "training split")
    lacking = settings.supervision_per_class * classes - len(pack)
    if lacking <= 0:
        return pack
    held = set(pack.positions.tolist())
    spare = torch.tensor(
        [i for i, position in enumerate(whole.positions.tolist()) if position not in held], dtype=torch.int64
    )
    spare = spare[torch.randperm(len(spare), generator=torch.Generator().manual_seed(0))[:lacking]]
    images = torch.cat([pack.images, whole.images[spare]])
    labels = torch.cat([pack.labels, torch.full((len(spare),), -1)])
    return Split(images, labels, torch.cat([pack.positions, whole.positions[spare]]))


def parity_samples(pack: SupervisionPack, checkpoint: MenteeCheckpoint) -> Samples:
    some = slice(0, 32)
    return Samples(
        checkpoint.view(pack.pixels[some]),
        pack.mentor_logits_NK[some].float(),
        [pack.mentor_activations[probe.name][some].float() for probe in checkpoint.probes],
    )


def accuracy_of(inference: Path, split: Split, view: View) -> dict[str, float]:
    """Measured through inference.onnx itself."""
    import onnxruntime

    session = onnxruntime.InferenceSession(inference, providers=["CPUExecutionProvider"])
    hits = 0
    for start in range(0, len(split), 256):
        images, labels = split.images[start : start + 256], split.labels[start : start + 256]
        logits = session.run(["logits"], {"input": view(images).numpy()})[0]
        hits += int((np.argmax(logits, 1) == labels.numpy()).sum())
    return {"accuracy": hits / len(split), "samples": len(split)}


def optimizer_ports(path: Path) -> dict[str, Any]:
    graph = onnx.load(path).graph

    def ports(values: Sequence[onnx.ValueInfoProto]) -> list[dict[str, Any]]:
        kinds = {value.name: value.type.WhichOneof("value") for value in values}
        return [
            {
                "name": value.name,
                "dtype": "sequence(float32)" if kinds[value.name] == "sequence_type" else dtype_of(value),
                "shape": [] if kinds[value.name] == "sequence_type" else [1],
                "meaning": value.name.replace("_", " "),
            }
            for value in values
        ]

    return {"file": f"ort-training/{path.name}", "inputs": ports(graph.input), "outputs": ports(graph.output)}


def dtype_of(value: onnx.ValueInfoProto) -> str:
    return str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def made_with() -> dict[str, Any]:
    versions = {name: version(name) for name in ("mentor-mentee", "torch", "onnx", "onnxruntime-training-cpu")}
    return {**versions, "opset": OPSET, "ir_version": IR_VERSION}


def file_table(folder: Path) -> dict[str, dict[str, Any]]:
    names = sorted(str(path.relative_to(folder).as_posix()) for path in folder.rglob("*") if path.is_file())
    contents = {name: (folder / name).read_bytes() for name in names}
    return {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in contents.items()}


def write_manifest(path: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Fills in `id`: sha256 of the file as it is with 64 zeros in the place of `id`, so it covers every word of it."""
    blank = json.dumps({**manifest, "id": NO_ID}, indent=1) + "\n"
    identity = hashlib.sha256(blank.encode()).hexdigest()
    path.write_text(blank.replace(f'"id": "{NO_ID}"', f'"id": "{identity}"'))
    return {**manifest, "id": identity}


@contextmanager
def whole_or_nothing(path: Path) -> Iterator[Path]:
    """A folder that takes the name `path` when the block ends well, and is gone when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{os.getpid()}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        yield staging
        if path.exists():
            aside = path.with_name(f".{path.name}.{os.getpid()}.old")
            path.rename(aside)
            staging.rename(path)
            shutil.rmtree(aside)
        else:
            staging.rename(path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def zip_folder(folder: Path, path: Path) -> None:
    """The same folder gives the same bytes: sorted names, one date, no compression (weights do not compress)."""
    partial = path.with_name(path.name + ".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            archive.writestr(
                zipfile.ZipInfo(file.relative_to(folder).as_posix(), (1980, 1, 1, 0, 0, 0)), file.read_bytes()
            )
    os.replace(partial, path)


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")
