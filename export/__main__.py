"""`python -m export checkpoint=runs/…/mentee.safetensors bundle=bundles/mine`, installed as `mentee-export`."""

from typing import Any

from configs.cli import run_cli
from export.schema import ExportSettings, check_export


def main() -> None:
    run_cli("export", ExportSettings, check_export, act)


def act(settings: Any) -> None:
    from export.command import run_command  # torch and onnx take seconds to import: only now

    run_command(settings)


if __name__ == "__main__":
    main()
