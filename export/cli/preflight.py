"""`python -m export preflight …`: what an export would meet, without exporting.

    python -m export preflight checkpoint=runs/x/mentee.safetensors
    python -m export preflight network._target_=torchvision.models.mobilenet_v3_small network.num_classes=10 shape=[3,64,64]

Ends with 0 where the model would export, with 1 where operators are left that cannot be differentiated, and with 2 for a user's
mistake, one line on standard error.
"""

import sys
from typing import Any

from export.cli.preflight_schema import PreflightSettings, check_preflight
from mentor_mentee.config.command_line import run_cli


def main(argv: list[str]) -> int:
    sys.argv[1:] = argv
    trains = []
    run_cli("preflight", PreflightSettings, check_preflight, lambda settings: trains.append(look_at(settings)))
    return 0 if all(trains) else 1


def look_at(settings: Any) -> bool:
    from export.preflight import of_checkpoint, of_network  # torch takes seconds to import: only now

    found = of_network(settings) if settings.checkpoint is None else of_checkpoint(settings)
    print("\n".join(found.lines()))
    return found.trains
