"""`mentee-export verify`: is a bundle whole, who made it, and does it compute here what torch computed when it was made?

Three depths, and the report says which were done: every byte against the manifest; this machine's ONNX Runtime against the
float64 results that the bundle brings along; and, given the checkpoint, a second export whose files must be the same.
"""

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.numpy import load_file

from export.backends import TRAINING, training_missing
from export.bundle.manifest import made_with
from export.bundle.reading.inspect import backends_of
from export.bundle.reading.parity import read_parity
from export.bundle.reading.read import SIGNATURE, loss_spec, opened
from export.graph.ports import output_names
from export.parity.feeds import Samples
from export.parity.recorded import FILE, replay
from export.parity.verdict import GRADIENT_BOUND, OUTPUT_BOUND
from export.schema import ExportSettings
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError
from mentor_mentee.objective.loss_spec import LossSpec


@dataclass(frozen=True)
class Check:
    """`passed` is None where the check was not done; `detail` then says what it would take."""

    name: str
    passed: bool | None
    detail: str


def verify(path: Path, key: Path | None = None, checkpoint: Path | None = None) -> list[Check]:
    """Raises `UserError` for a bundle that must not be opened at all: altered, cut short, not signed by `key`."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # looks for CUDA when onnxruntime imports it
    with opened(path) as (folder, manifest):
        checks = [
            Check("files", True, f"{len(manifest['files'])} files are what the manifest says; its id and schema hold")
        ]
        checks.append(signature(folder, key))
        checks += replayed(folder, manifest)
        checks += exported_again(manifest, checkpoint) if checkpoint else [not_exported_again()]
    return checks


def signature(folder: Path, key: Path | None) -> Check:
    if key is None:
        signed = (folder / SIGNATURE).is_file()
        return Check(
            "signature",
            None,
            "signed; give its maker's key, key=public.pem" if signed else "the bundle is not signed",
        )
    from export.bundle.reading.signature import public_key, require_signature

    require_signature(folder, public_key(key))
    return Check("signature", True, f"made by the holder of the private key to '{key}'")


def replayed(folder: Path, manifest: dict[str, Any]) -> list[Check]:
    if FILE not in manifest["files"]:
        return [
            Check("runtime against torch", None, f"the bundle holds no {FILE}; give checkpoint=… to export it again")
        ]
    spec, probes = LossSpec(**loss_spec(manifest)), [probe["name"] for probe in manifest["probes"]]
    bounds, checks = bounds_of(read_parity(folder, manifest["files"])), list[Check]()
    backends = backends_of(manifest)
    for backend in backends:
        if backend == TRAINING and (missing := training_missing()) is not None:
            checks.append(Check(f"{backend} against torch", None, missing))
            continue
        try:
            recorded, samples = load_file(folder / FILE), pack_samples(folder, manifest)
            differences = replay(
                recorded, samples, output_names(probes, spec), folder / backend, folder / "inference.onnx"
            )
        except Exception as error:  # the runtime's own classes have no common base but this
            said = " ".join(str(error).split())[:200]
            raise UserError(
                f"the bundle cannot be run on {backend} ({type(error).__name__}: {said}); make the bundle again"
            ) from error
        checks += [
            Check(
                f"{name}{f' ({backend})' if len(backends) > 1 else ''} against torch",
                difference <= bounds[name],
                f"{difference:.1e} relative, at most {bounds[name]:.0e}",
            )
            for name, difference in differences.items()
        ]
    return checks


def bounds_of(about: dict[str, Any]) -> dict[str, float]:
    """The bounds of the export: twice the error of torch's own float32 there, where that is above the general bound."""
    own = about.get("torch_float32", {})
    general = {"inference": OUTPUT_BOUND, "outputs": OUTPUT_BOUND, "gradients": GRADIENT_BOUND}
    return {
        heading: max([bound, *(2 * value for value in own.get(heading, {}).values() if isinstance(value, float))])
        for heading, bound in general.items()
    }


def pack_samples(folder: Path, manifest: dict[str, Any]) -> Samples:
    pack = load_file(folder / manifest["supervision"]["file"])
    view = View.restored(manifest["preprocessing"])
    names = [probe["name"] for probe in manifest["probes"]]
    answers = {name: torch.from_numpy(pack[f"mentor_{name}"]).float() for name in names}
    return Samples(view(torch.from_numpy(pack["input"])), torch.from_numpy(pack["mentor_logits"]).float(), answers)


def not_exported_again() -> Check:
    return Check("second export", None, "give checkpoint=<the run's mentee.safetensors> to compare with torch itself")


def exported_again(manifest: dict[str, Any], checkpoint: Path) -> list[Check]:
    from export.bundle.write import export_bundle
    from mentee.checkpoint import MenteeCheckpoint

    if TRAINING in backends_of(manifest) and (missing := training_missing()) is not None:
        return [Check("second export", None, missing)]
    if "settings" not in manifest:
        raise UserError(
            "the bundle does not say how it was exported, so it cannot be exported again; leave out checkpoint=…"
        )
    with tempfile.TemporaryDirectory() as scratch:
        again = export_bundle(
            MenteeCheckpoint.load(checkpoint), Path(scratch) / "again", settings(manifest["settings"])
        )
    names = sorted({*manifest["files"], *again.manifest["files"]})
    other = [name for name in names if manifest["files"].get(name) != again.manifest["files"].get(name)]
    versions = {name: (value, made_with().get(name)) for name, value in manifest["made_with"].items()}
    changed = [f"{name} {was} there, {here} here" for name, (was, here) in versions.items() if was != here]
    detail = f"{len(names)} files the same" if not other else f"of {len(names)} files differ {', '.join(other)}"
    return [
        Check(
            "parity anew", True, "gradients, outputs and steps of a second export are torch's"
        ),  # or it would have raised
        Check("second export", not other, "; ".join([detail, *changed])),
    ]


def settings(recorded: dict[str, Any]) -> ExportSettings:
    from omegaconf import OmegaConf

    recorded = {"backend": TRAINING, **recorded}  # older bundles do not say: there was no other
    merged = OmegaConf.merge(OmegaConf.structured(ExportSettings), recorded, {"checkpoint": "-", "bundle": "-"})
    made: ExportSettings = OmegaConf.to_object(merged)  # type: ignore[assignment]
    return made
