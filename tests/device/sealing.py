"""Changes a bundle and makes its sums right again, so that only what is meant is wrong with it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from export.bundle.files import file_table
from export.bundle.manifest import write_manifest


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """`edit` changes the manifest in place; its `id` is made right, `files` stays as `edit` left it."""
    content = json.loads((folder / "manifest.json").read_text())
    edit(content)
    write_manifest(folder / "manifest.json", content)


def reseal(folder: Path) -> None:
    """Another bundle, sound: `files` and `id` of the folder as it is now."""
    files = {name: entry for name, entry in file_table(folder).items() if name != "manifest.json"}
    edit_manifest(folder, lambda content: content.update(files=files))


def with_a_right_mentor(folder: Path) -> Path:
    """Its answers are those of the labels, on every replay sample that has one."""
    pack = load_file(folder / "supervision.safetensors")
    labelled = np.flatnonzero(pack["labels"] >= 0)
    pack["mentor_logits"][labelled, pack["labels"][labelled]] = 20
    save_file(pack, folder / "supervision.safetensors")
    reseal(folder)
    return folder
