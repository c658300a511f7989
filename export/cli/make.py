"""`make`: a bundle of a run's checkpoint, and the lines that say what was made."""

import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from export.schema import ExportSettings, check_export
from mentee.checkpoint_file import require_checkpoint_file
from mentor_mentee.config.command_line import run_cli
from mentor_mentee.interrupt import while_importing
from mentor_mentee.progress import reporting

if TYPE_CHECKING:
    from export.bundle.write import Exported

USAGE = """\
mentee-export [make] checkpoint=FILE bundle=FOLDER [SETTING=VALUE …]   makes a bundle of a run's mentee.safetensors

mentee-export checkpoint=runs/x/mentee.safetensors bundle=bundles/mine optimizer.name=sgd optimizer.momentum=0.9
mentee-export checkpoint=… bundle=… 'optimizer.groups=[{match: "*.bias", weight_decay: 0}]' optimizer.schedule.name=cosine
"""


def make(words: Sequence[str]) -> int:
    sys.argv[1:] = words
    run_cli("export", ExportSettings, check_make, write_bundle, USAGE)
    return 0


def check_make(settings: ExportSettings) -> None:
    check_export(settings)
    require_checkpoint_file(Path(settings.checkpoint))


def write_bundle(settings: Any) -> None:
    from rich.console import Console

    with while_importing():
        from export.bundle.write import export_bundle  # torch and onnx take seconds to import: only now
        from mentee.checkpoint import MenteeCheckpoint

    console = Console(highlight=False)
    waiting = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    with waiting.status("exporting and comparing with torch …"), reporting(waiting.print):
        exported = export_bundle(MenteeCheckpoint.load(Path(settings.checkpoint)), Path(settings.bundle), settings)
    console.print(summary(exported), soft_wrap=True)


def summary(exported: "Exported") -> str:
    from export.bundle.reading.inspect import backends_line, variant_line
    from export.network.costs import Costs
    from export.parity.verdict import proofs, silent_in_words

    manifest, parity = exported.manifest, proofs(exported.parity)
    silent = silent_in_words(exported.parity)
    size = sum(entry["bytes"] for entry in manifest["files"].values())
    base = manifest["base"]["test"]
    return "\n".join(
        [
            f"bundle      {exported.path}  ({size:,} bytes, {manifest['parameters']['count']:,} parameters; zip beside it)",
            f"accuracy    {base['accuracy']:.2%} of {base['samples']} test samples, through inference.onnx",
            f"backends    {backends_line(manifest)}",
            f"parity      gradients {max(max(one['gradients'].values()) for one in parity.values()):.1e} relative, "
            f"{next(iter(parity.values()))['steps']['steps']} optimizer steps "
            f"{max(one['steps']['largest_difference'] for one in parity.values()):.1e}, against torch",
            f"trains      {Costs.of(manifest['costs'])}; batch_norm={manifest['batch_norm']}, dropout={manifest['dropout']}",
            f"loss        {exported.knobs}",
            *(f"{'proof':12}{line}" for line in silent),
            *(f"{'network':12}{note}" for note in exported.notes),
            *class_lines(manifest.get("class_changes")),
            *(f"{name:12}{variant_line(variant)}" for name, variant in manifest.get("variants", {}).items()),
            f"packs       {manifest['supervision']['samples']} supervised samples of "
            f"{manifest['supervision']['bytes_per_sample']:,} bytes, {manifest['golden']['samples']} golden",
            f"next        mentee-device learn --bundle {quote(str(exported.path))} --state me --data SAMPLES.npz --steps 100",
        ]
    )


def class_lines(changes: dict[str, list[str]] | None) -> list[str]:
    """A misspelt class is a new one: it must be seen."""
    if changes is None:
        return []
    said = [f"{len(changes['kept'])} known"] + [
        f"{kind}: {', '.join(changes[kind])}" for kind in ("new", "dropped") if changes[kind]
    ]
    return [f"classes     {'; '.join(said)}"]
