"""`preflight`: what an export would meet, without exporting.

Ends with 0 where the model would export, with 1 where operators are left that cannot be differentiated, and with 2 for a user's
mistake, one line on standard error.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.schema import PreflightSettings, check_preflight
from mentor_mentee.config.command_line import run_cli

if TYPE_CHECKING:
    from export.graph.preflight import Preflight

USAGE = """\
mentee-export preflight SETTING=VALUE …   says what of a model has no gradient on the device, without exporting

mentee-export preflight checkpoint=runs/x/mentee.safetensors
mentee-export preflight network._target_=torchvision.models.mobilenet_v3_small network.num_classes=10 shape=[3,64,64]
"""


def preflight(words: Sequence[str]) -> int:
    sys.argv[1:] = words
    trains: list[bool] = []
    run_cli(
        "preflight", PreflightSettings, check_preflight, lambda settings: trains.append(print_findings(settings)), USAGE
    )
    return 0 if all(trains) else 1


def print_findings(settings: Any) -> bool:
    found = of_network(settings) if settings.checkpoint is None else of_checkpoint(settings)
    print("\n".join(found.lines()))
    return found.trains


def of_network(settings: PreflightSettings) -> "Preflight":
    """Looks at a bare network with fresh weights."""
    import torch  # takes seconds to import: only now

    from export.graph.preflight import preflight
    from export.network.batch_norm import with_batch_norm
    from export.network.checks import require_exportable
    from mentor_mentee.recipe import build

    network: torch.nn.Module = build(settings.network, "network").eval()
    assert settings.shape is not None
    require_exportable(network, torch.randn(2, *settings.shape, generator=torch.Generator().manual_seed(0)))
    network = with_batch_norm(network, settings.batch_norm)
    return preflight(network, settings.shape, settings.head, (), settings.rewrite, settings.trainable)


def of_checkpoint(settings: PreflightSettings) -> "Preflight":
    from export.graph.preflight import preflight
    from export.network.for_device import frozen_network
    from mentee.checkpoint import MenteeCheckpoint

    checkpoint = MenteeCheckpoint.load(Path(str(settings.checkpoint)))
    network = frozen_network(checkpoint, settings.batch_norm)
    shape, rewriting = checkpoint.view.shape, settings.rewrite
    return preflight(network, shape, checkpoint.head, checkpoint.probes, rewriting, settings.trainable)
