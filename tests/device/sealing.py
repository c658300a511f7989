"""Changes a bundle and makes its sums right again, so that only what is meant is wrong with it."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from mentee_device import Bundle, BundleError, Learner
from mentee_device.core.backends import choose
from mentee_device.core.batch import unanswered
from mentee_device.core.opening import require_same_inference
from safetensors.numpy import load_file, save_file

from export.bundle.manifest import write_manifest
from export.bundle.reading.files import file_table


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """`edit` changes the manifest in place; its `id` is made right, `files` stays as `edit` left it."""
    content = json.loads((folder / "manifest.json").read_text())
    edit(content)
    write_manifest(folder / "manifest.json", content)


def reseal(folder: Path) -> None:
    """Another bundle: `files` and `id` of the folder as it is now. Where it can be opened it is sound too: inference.onnx and
    what was measured on its packs are made right."""
    sums_only(folder)
    with suppress(BundleError), Bundle.open(folder) as bundle:
        golden, replay = bundle.golden(), bundle.supervision()
        session = choose.opened(bundle, 1, choose.chosen(bundle.manifest))
        stated: dict[str, Any] = {"golden": len(golden), "supervision": len(replay), "accuracy": None}
        if len(golden):
            logits = session.forward(unanswered(bundle.manifest, golden.input))["logits"]
            stated["accuracy"] = float((logits.argmax(1) == golden.labels).mean())
            with suppress(BundleError):
                require_same_inference(bundle, golden, logits)
                stated["sound"] = True
        if "sound" not in stated:
            session.export_inference(folder / "inference.onnx")
        sums_only(folder)
        edit_manifest(folder, lambda content: measured(content, stated))


def sums_only(folder: Path) -> None:
    """`files` and `id` of the folder as it is now; what was measured stays as it was."""
    files = {name: entry for name, entry in file_table(folder).items() if name not in ("manifest.json", "manifest.sig")}
    edit_manifest(folder, lambda content: content.update(files=files))


def measured(content: dict[str, Any], stated: dict[str, Any]) -> None:
    for pack in ("golden", "supervision"):
        content[pack]["samples"] = stated[pack]
    content.pop("expected", None)
    if stated["accuracy"] is not None:
        content["base"]["golden"]["accuracy"] = stated["accuracy"]


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
