"""What `mentee-export` does and prints."""

from pathlib import Path

from rich.console import Console

from export.bundle import Exported, export_bundle
from export.schema import ExportSettings
from mentee.checkpoint import MenteeCheckpoint


def run_command(settings: ExportSettings) -> None:
    console = Console(highlight=False)
    with Console(stderr=True).status("exporting and comparing with torch …"):
        exported = export_bundle(MenteeCheckpoint.load(Path(settings.checkpoint)), Path(settings.bundle), settings)
    console.print(summary(exported), soft_wrap=True)


def summary(exported: Exported) -> str:
    manifest, parity = exported.manifest, exported.parity
    size = sum(entry["bytes"] for entry in manifest["files"].values())
    base = manifest["base"]["test"]
    return "\n".join(
        [
            f"bundle      {exported.path}  ({size:,} bytes, {manifest['parameters']['count']:,} parameters; zip beside it)",
            f"accuracy    {base['accuracy']:.2%} of {base['samples']} test samples, through inference.onnx",
            f"parity      gradients {max(parity['gradients'].values()):.1e} relative, "
            f"parameters after {parity['parameters_after_steps']['steps']} steps "
            f"{parity['parameters_after_steps']['largest_difference']:.1e}, against torch in float64",
            f"packs       {manifest['supervision']['samples']} supervised samples, {manifest['golden']['samples']} golden",
        ]
    )
