"""Mentee checkpoint -> bundle (docs/bundle.md): graph, artifacts, packs, proof, manifest; all of it or nothing."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from safetensors.torch import save
from torch import Tensor

from data.errors import UserError
from data.splits import Split
from data.view import View
from export.artifacts import silenced, write_artifacts
from export.batch_norm import running_statistics
from export.dropout import add_masks
from export.files import file_table, whole_or_nothing, write_json
from export.graph import cut_inference, export_graph
from export.manifest import describe, write_manifest
from export.parity import Samples, measure, require_parity
from export.prepare import Prepared, prepare
from export.schema import ExportSettings
from mentee.checkpoint import MenteeCheckpoint


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
    if not path.name or (path.exists() and settings.overwrite and not replaceable(path)):
        raise UserError(f"'{path}' is no bundle, so it is not replaced by one; choose another bundle=…")
    if path.exists() and not settings.overwrite:
        raise UserError(
            f"'{path}' exists; choose another bundle=…, or overwrite=true to replace it once the new one is whole"
        )
    if path.with_name(path.name + ".zip").exists() and not settings.overwrite:
        raise UserError(f"'{path}.zip' exists; choose another bundle=…, or overwrite=true to replace it")
    prepared = prepare(checkpoint, settings)
    view = checkpoint.view
    with whole_or_nothing(path) as staging:
        training, inference = staging / "ort-training", staging / "inference.onnx"
        training.mkdir()
        with silenced():  # torch prints the whole graph where it cannot trace it; what it says is in the error
            forward = export_graph(prepared.graph, prepared.inputs, prepared.outputs)
        onnx.save(cut_inference(forward), inference)
        add_masks(forward)
        write_artifacts(forward, prepared.trainable, settings.optimizer, training, running_statistics(prepared.network))
        golden = {"input": view.pixels(prepared.golden.images), "labels": prepared.golden.labels}
        write_tensors(staging / "supervision.safetensors", prepared.pack.tensors())
        write_tensors(staging / "golden.safetensors", golden)
        parity = measure(
            prepared.graph, training, inference, parity_samples(prepared), prepared.outputs, settings.optimizer
        )
        require_parity(parity)
        write_json(staging / "parity.json", parity)
        manifest = describe(prepared, settings, staging)
        manifest["base"] = {
            "test": accuracy_of(inference, prepared.test, view),
            "golden": accuracy_of(inference, prepared.golden, view),
        }
        manifest["files"] = file_table(staging)
        manifest = write_manifest(staging / "manifest.json", manifest)
    return Exported(path, manifest, parity)


def replaceable(path: Path) -> bool:
    """An older bundle or an empty folder: a slip in bundle=… must not cost a user's own files."""
    if not path.is_dir():
        return False
    try:
        content = json.loads((path / "manifest.json").read_bytes())
    except (OSError, ValueError):
        return not any(path.iterdir())
    return isinstance(content, dict) and str(content.get("format")).startswith("mentee-bundle/")


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    path.write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}))


def parity_samples(prepared: Prepared, count: int = 32) -> Samples:
    pack, checkpoint = prepared.pack, prepared.checkpoint
    return Samples(
        checkpoint.view(pack.pixels[:count]),
        pack.mentor_logits_NK[:count].float(),
        [pack.mentor_activations[probe.name][:count].float() for probe in checkpoint.probes],
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
