"""Mentee checkpoint -> bundle (docs/bundle.md): graph, artifacts, packs, proof, manifest; all of it or nothing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save as save_arrays
from safetensors.torch import save
from torch import Tensor, nn

from export.backends import left_out
from export.bundle.expected import expected_terms
from export.bundle.given import given_data, given_mentor
from export.bundle.graphs import proved, store_once, write_graphs
from export.bundle.knobs import device_knobs, in_words
from export.bundle.manifest import describe, write_manifest
from export.bundle.packs import pixels_of
from export.bundle.prepare import OnDevice, Prepared, on_device, prepare, require_named
from export.bundle.reading.files import as_json, file_table, recover, whole_or_nothing
from export.bundle.reading.read import require_schema
from export.bundle.reading.signature import private_key, sign
from export.graph.quantize import KIND, quantize
from export.kinds import INFERENCE
from export.network.costs import costs_json
from export.parity.feeds import Samples
from export.parity.recorded import FILE as REFERENCE
from export.parity.recorded import recorded_for
from export.schema import ExportSettings, check_export
from mentee.card import CARD
from mentee.checkpoint import MenteeCheckpoint
from mentor.mentor import Mentor
from mentor_mentee.data.splits import Split
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError

CALIBRATION = 256  # samples of the supervision pack that int8 activations are scaled on


@dataclass(frozen=True)
class Exported:
    path: Path
    manifest: dict[str, Any]
    parity: dict[str, Any]
    notes: list[str]  # on what the bundle has otherwise than the run
    left_out: dict[str, str]  # kind of graphs -> why the bundle has none of it, under backend=auto
    knobs: str  # the device's defaults, and which of them are the run's


def export_bundle(
    checkpoint: MenteeCheckpoint,
    path: Path | str,
    settings: ExportSettings | None = None,
    *,
    data: Any = None,
    mentor: Mentor | nn.Module | None = None,
    keys: tuple[Any, Any] | None = None,
    parameters: Mapping[str, NDArray[np.float32]] | None = None,
) -> Exported:
    """Writes the bundle folder `path`, and beside it `<path>.zip`.

    `data` and `mentor` where the checkpoint names none, as one of a script's `Student` does: data sets by train, val and test
    (whose items have image and label at `keys`), and `student.mentor`. `parameters`, by the names in a bundle's manifest,
    take the place of the checkpoint's: what a fleet has learnt since.

    Raises `UserError`, with nothing left at `path` that was not there before, where the folder is in use, the mentee
    cannot be traced, a pack cannot be filled, or ONNX Runtime does not train it as torch does.
    """
    path, settings = Path(path), settings or ExportSettings()
    check_export(settings)
    key = private_key(Path(settings.sign_key)) if settings.sign_key is not None else None
    knobs = device_knobs(settings.loss, checkpoint)
    recover(path)
    require_free(path, settings.overwrite)
    require_named(checkpoint, data is not None, mentor is not None)
    mentee = on_device(checkpoint, settings, parameters)
    view = checkpoint.view
    with whole_or_nothing(path) as staging:
        inference = staging / INFERENCE
        written = write_graphs(mentee, settings, staging)
        prepared = prepared_for(checkpoint, settings, mentee, data, mentor, keys)
        golden = {"input": pixels_of(prepared.golden, view), "labels": prepared.golden.labels}
        write_tensors(staging / "supervision.safetensors", prepared.pack.tensors(), prepared.classes)
        write_tensors(staging / "golden.safetensors", golden, prepared.classes)
        samples = parity_samples(prepared)
        written, parity = proved(written, samples, settings)
        (staging / "parity.json").write_bytes(as_json(parity).encode())
        names = [port.name for port in prepared.outputs]
        folders = [staging / backend for backend in written.backends]
        recorded = recorded_for(prepared.graph, samples, names, folders, inference)
        (staging / REFERENCE).write_bytes(save_arrays(recorded))
        manifest = describe(prepared, settings, written)
        manifest["base"] = {
            "test": accuracy_of(inference, prepared.test, view),
            "golden": accuracy_of(inference, prepared.golden, view),
        }
        manifest["expected"] = expected_terms(prepared, knobs)
        said = [left_out(written.left_out)] if written.left_out else []
        (staging / CARD).write_text(checkpoint.card(manifest, [*prepared.notes, *said]), encoding="utf-8")
        if settings.int8:
            manifest["variants"] = {"int8": int8_variant(inference, prepared)}
        if (weights := store_once(written, prepared, settings)) is not None:
            manifest["checkpoint"] = weights
        manifest["files"] = file_table(staging)
        manifest["costs"] = costs_json(prepared.network, manifest)
        manifest = write_manifest(staging / "manifest.json", manifest)
        require_schema(manifest)
        if key is not None:
            sign(staging, key)
    return Exported(path, manifest, parity, prepared.notes, written.left_out, in_words(settings.loss, checkpoint))


def require_free(path: Path, overwrite: bool) -> None:
    """Raises `UserError` unless a bundle may take the name `path`."""
    if not path.name or (path.exists() and overwrite and not replaceable(path)):
        raise UserError(f"'{path}' is no bundle, so it is not replaced by one; choose another bundle=…")
    if path.exists() and not overwrite:
        raise UserError(
            f"'{path}' exists; choose another bundle=…, or overwrite=true to replace it once the new one is whole"
        )
    if path.with_name(path.name + ".zip").exists() and not overwrite:
        raise UserError(f"'{path}.zip' exists; choose another bundle=…, or overwrite=true to replace it")


def prepared_for(
    checkpoint: MenteeCheckpoint,
    settings: ExportSettings,
    mentee: OnDevice,
    data: Any = None,
    mentor: Mentor | nn.Module | None = None,
    keys: tuple[Any, Any] | None = None,
) -> Prepared:
    """`prepare`; an error of the disk there is of the data or the mentor, not of the bundle."""
    try:
        splits, notes = (None, list[str]()) if data is None else given_data(data, checkpoint, keys)
        asked = None if mentor is None else given_mentor(mentor, checkpoint)
        prepared = prepare(checkpoint, settings, mentee, splits, asked)
        return replace(prepared, notes=[*prepared.notes, *notes])
    except OSError as error:
        raise UserError(str(error)) from None


def int8_variant(inference: Path, prepared: Prepared) -> dict[str, Any]:
    """Entry of the manifest for `inference.int8.onnx`, or why there is none."""
    target, view = inference.with_name("inference.int8.onnx"), prepared.checkpoint.view
    samples = view(prepared.pack.pixels[:CALIBRATION])
    if (reason := quantize(inference, target, samples)) is not None:
        return {"omitted": reason}
    return {
        "file": target.name,
        "bytes": target.stat().st_size,
        "quantisation": KIND,
        "calibration_samples": len(samples),
        "test": accuracy_of(target, prepared.test, view),
        "golden": accuracy_of(target, prepared.golden, view),
    }


def replaceable(path: Path) -> bool:
    """An older bundle or an empty folder: a slip in bundle=… must not cost a user's own files."""
    if not path.is_dir():
        return False
    try:
        content = json.loads((path / "manifest.json").read_bytes())
    except (OSError, ValueError):
        return not any(path.iterdir())
    return isinstance(content, dict) and str(content.get("format")).startswith("mentee-bundle/")


def write_tensors(path: Path, tensors: dict[str, Tensor], classes: Sequence[str]) -> None:
    """With the names that its labels are numbers of: in another order in the manifest they would be other classes."""
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    path.write_bytes(save(whole, {"classes": json.dumps(list(classes))}))


def parity_samples(prepared: Prepared, count: int = 32) -> Samples:
    pack, checkpoint = prepared.pack, prepared.checkpoint
    return Samples(
        checkpoint.view(pack.pixels[:count]),
        pack.mentor_logits_NK[:count].float(),
        {probe.name: pack.mentor_activations[probe.name][:count].float() for probe in checkpoint.probes},
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
