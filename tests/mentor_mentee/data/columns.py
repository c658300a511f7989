"""Files of arrays for tests, and what a reader made of them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from mentor_mentee.data.splits import Splits

PARTS = ("train", "val", "test")


Columns = dict[str, Any]


def saved(tmp_path: Path, name: str = "file.npz", **columns: Any) -> Path:
    path = tmp_path / name
    if path.suffix == ".npz":
        np.savez(path, **columns)
    else:
        save_file({key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in columns.items()}, path)
    return path


def rising(*shape: int) -> np.ndarray[Any, Any]:
    """float32, every number another one, so that a moved axis shows."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 7


def classes_of(samples: int, classes: int = 3) -> np.ndarray[Any, Any]:
    return np.arange(samples) % classes


def rows(splits: Splits) -> dict[str, list[int]]:
    return {part: getattr(splits, part).positions.tolist() for part in PARTS}
