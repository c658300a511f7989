"""Checks that a file of weights is there, and hashes it. Imports no torch, so that a wrong path is answered at once."""

import hashlib
from pathlib import Path

from mentor_mentee.errors import UserError

# Targets whose weights may be a published name instead of a file.
TORCHVISION = ("mentor.torchvision_models", "classifier")
TIMM = ("mentor_mentee.zoo.timm_models", "classifier")
TRANSFORMERS = ("mentor_mentee.zoo.transformers_models", "classifier")
NAMED = (TORCHVISION, TIMM, TRANSFORMERS)
PRETRAINED = "pretrained"  # the name of timm's and transformers' weights, of which a model has one set


def require_file(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"no weights at '{path}'; expected a .safetensors file or a torch file with a state dict")


def file_digest(path: Path) -> str:
    """sha256 of the file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
