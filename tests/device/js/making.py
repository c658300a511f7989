"""What the tests in device/js compare with: real bundles, mutants of one, and what the Python program says of them."""

import json
import shutil
from pathlib import Path

import numpy as np
from mentee_device import Bundle, BundleError
from mentee_device.bundle.samples import preprocess
from safetensors.numpy import save_file

from benchmarks.crashes.mutants.bundles import make
from export.bundle.reading.signature import make_keys
from tests.device.js.photos import write_photos

MUTANTS, SEED = 300, 3


def make_fixtures(folder: Path, bundle: Path, sealed: Path) -> None:
    """Fills `folder`; `bundle` and `sealed` are folders that their zips and keys lie beside."""
    shutil.copytree(bundle.parent, folder / "bundle")
    shutil.copytree(sealed.parent, folder / "sealed")
    make_keys(folder / "other-private.pem", folder / "other.pem")
    write_packs(folder, bundle)
    write_mutants(folder, bundle)
    write_photos(folder)


def write_packs(folder: Path, path: Path) -> None:
    with Bundle.open(path) as bundle:
        golden, replay = bundle.golden(), bundle.supervision()
        tensors = {
            "golden_input": preprocess(golden.input, bundle.manifest),
            "input": preprocess(replay.samples.input, bundle.manifest),
            "golden_labels": golden.labels.astype(np.int32),
            "labels": replay.samples.labels.astype(np.int32),
            "mentor_logits": replay.mentor_logits.astype(np.float32),
        }
        layers = {f"mentor_{name}": value.astype(np.float32) for name, value in replay.activations.items()}
    save_file(tensors | layers, folder / "packs.safetensors")


def write_mutants(folder: Path, bundle: Path) -> None:
    """`mutants.json`: what is wrong with each, and why Python refuses it, if it does."""
    said = []
    (folder / "mutants").mkdir()
    for number in range(MUTANTS):
        mutant = make(bundle, folder / "mutants" / str(number), SEED, number)
        path = mutant.path.relative_to(folder).as_posix()
        said.append({"path": path, "kind": mutant.kind, "what": mutant.what[:200], "refused": refusal(mutant.path)})
    (folder / "mutants.json").write_text(json.dumps(said))


def refusal(path: Path) -> str | None:
    try:
        with Bundle.open(path) as bundle:
            bundle.supervision()
            bundle.golden()
    except BundleError as error:
        return str(error)
    return None
