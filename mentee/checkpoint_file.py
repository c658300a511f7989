"""Checks that a mentee's checkpoint is there. Imports no torch, so that a wrong path is answered at once."""

from pathlib import Path

from mentor_mentee.errors import UserError


def require_checkpoint_file(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"no mentee checkpoint at '{path}'; expected the mentee.safetensors of a distillation run")
