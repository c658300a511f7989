"""Paths of the files that the personalisation benchmark made about one owner."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Base:
    """Files that the owner's device starts from."""

    owner: str
    folder: Path

    @property
    def checkpoint(self) -> Path:
        return self.folder / "run" / "mentee.safetensors"

    @property
    def samples(self) -> Path:
        """The owner's, with the mentor's logits, and everybody else's held-out ones."""
        return self.folder / "device.safetensors"

    @property
    def adapted(self) -> Path:
        """`samples` with the logits of mentors that have seen the labels of a draw."""
        return self.folder / "adapted.safetensors"

    def bundle(self, trainable: str) -> Path:
        return self.folder / f"bundle-{trainable}"
