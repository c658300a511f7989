"""Exporter: a mentee checkpoint becomes a bundle, with its backward graph, loss and optimizer, and the proof that it trains.

checkpoint = mentee.MenteeCheckpoint.load(Path("runs/mine/mentee.safetensors"))
export.export_bundle(checkpoint, Path("bundles/mine"), export.ExportSettings())
"""

from typing import TYPE_CHECKING

from mentor_mentee.lazy import lazily

if TYPE_CHECKING:
    from export.bundle.verify import Check as Check
    from export.bundle.verify import verify as verify
    from export.bundle.write import Exported as Exported
    from export.bundle.write import export_bundle as export_bundle
    from export.schema import ExportSettings as ExportSettings

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Check": "export.bundle.verify",
        "ExportSettings": "export.schema",
        "Exported": "export.bundle.write",
        "export_bundle": "export.bundle.write",
        "verify": "export.bundle.verify",
    },
)
