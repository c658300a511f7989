"""`preflight`: what an export would meet, without exporting.

Ends with 0 where the model would export, with 1 where it would not, and with 2 for a user's mistake and for a network that no
graph can be made of, one line on standard error.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.schema import PreflightSettings, check_preflight
from mentee.checkpoint_file import require_checkpoint_file
from mentor_mentee.config.command_line import run_cli
from mentor_mentee.interrupt import while_importing

if TYPE_CHECKING:
    from export.graph.findings import Preflight

USAGE = """\
mentee-export preflight SETTING=VALUE …   says for each backend whether a model trains on it; exports nothing

mentee-export preflight checkpoint=runs/x/mentee.safetensors
mentee-export preflight network._target_=torchvision.models.mobilenet_v3_small network.num_classes=10 shape=[3,64,64]
"""


def preflight(words: Sequence[str]) -> int:
    sys.argv[1:] = words
    trains: list[bool] = []
    run_cli("preflight", PreflightSettings, check_look, lambda settings: trains.append(print_findings(settings)), USAGE)
    return 0 if all(trains) else 1


def check_look(settings: PreflightSettings) -> None:
    check_preflight(settings)
    if settings.checkpoint is not None:
        require_checkpoint_file(Path(settings.checkpoint))


def print_findings(settings: Any) -> bool:
    found = of_network(settings) if settings.checkpoint is None else of_checkpoint(settings)
    answer = {"why": found.why(), "left_out": found.left_out, "lines": found.lines()}
    print(json.dumps(answer) if settings.json else "\n".join(found.lines()))
    return found.trains


def of_network(settings: PreflightSettings) -> "Preflight":
    """Looks at a bare network with fresh weights."""
    with while_importing():
        from export.preflight import look  # torch takes seconds to import: only now
        from mentor_mentee.objective.classifier import build_classifier

    assert settings.shape is not None
    network = build_classifier(settings.network, "network")
    return look(
        network,
        settings.shape,
        head=settings.head,
        batch_norm=settings.batch_norm,
        rewriting=settings.rewrite,
        trainable=settings.trainable,
        backend=settings.backend,
    )


def of_checkpoint(settings: PreflightSettings) -> "Preflight":
    with while_importing():
        from export.preflight import look
        from mentee.checkpoint import MenteeCheckpoint

    checkpoint = MenteeCheckpoint.load(Path(str(settings.checkpoint)))
    return look(
        checkpoint.network(),
        checkpoint.view.shape,
        head=checkpoint.head,
        probes=checkpoint.probes,
        loss=checkpoint.loss,
        batch_norm=settings.batch_norm,
        rewriting=settings.rewrite,
        trainable=settings.trainable,
        backend=settings.backend,
        setting="mentee.head",
    )
