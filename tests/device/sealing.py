"""Changes a bundle and makes its sums right again, so that only what is meant is wrong with it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mentee_device import Bundle, Learner
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


def with_a_wrong_mentor(folder: Path) -> Path:
    """The labels of the replay samples that have one are what the base answers, and never what the mentor does."""
    with Bundle.open(folder) as bundle, Learner(bundle) as base:
        answers_N = base.predict(bundle.supervision().samples.input).logits.argmax(axis=1)
    pack = load_file(folder / "supervision.safetensors")
    labelled = np.flatnonzero(pack["labels"] >= 0)
    pack["labels"][labelled] = answers_N[labelled]
    pack["mentor_logits"][labelled, answers_N[labelled]] = -20
    save_file(pack, folder / "supervision.safetensors")
    reseal(folder)
    return folder
