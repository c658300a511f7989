"""What `mentee-export` does and prints."""

from pathlib import Path

from rich.console import Console

from export.bundle.inspect import variant_line
from export.bundle.write import Exported, export_bundle
from export.network.costs import Costs
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
            f"{parity['steps']['steps']} optimizer steps "
            f"{parity['steps']['largest_difference']:.1e}, against torch",
            f"trains      {Costs.of(manifest['costs'])}; batch_norm={manifest['batch_norm']}, dropout={manifest['dropout']}",
            *class_lines(manifest.get("class_changes")),
            *(f"{name:12}{variant_line(variant)}" for name, variant in manifest.get("variants", {}).items()),
            f"packs       {manifest['supervision']['samples']} supervised samples of "
            f"{manifest['supervision']['bytes_per_sample']:,} bytes, {manifest['golden']['samples']} golden",
        ]
    )


def class_lines(changes: dict[str, list[str]] | None) -> list[str]:
    """A misspelt class is a new one: it must be seen."""
    if changes is None:
        return []
    said = [f"{len(changes['kept'])} kept"] + [
        f"{kind}: {', '.join(changes[kind])}" for kind in ("new", "dropped") if changes[kind]
    ]
    return [f"classes     {'; '.join(said)}"]
