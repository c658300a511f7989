"""Fixtures that the tests in device/js compare with: real bundles, mutants of one, and what the Python program says of them."""

import json
import shutil
from pathlib import Path

import numpy as np
from mentee_device import Bundle, BundleError
from mentee_device.bundle.samples import preprocess
from safetensors.numpy import save_file

from benchmarks.crashes.mutants.bundles import make
from export.bundle.reading.signature import make_keys
from mentee.checkpoint import MenteeCheckpoint
from tests.device.js.cases import write_bundles
from tests.device.js.checkpoints import write_checkpoint
from tests.device.js.decisions import write_decisions
from tests.device.js.learning import write_learning, write_newer
from tests.device.js.naming import write_naming
from tests.device.js.owners import labelled, lived, merged, moved
from tests.device.js.photos import write_photos
from tests.device.js.runtimes import write_runtimes
from tests.device.js.states import write_states

MUTANTS, SEED = 300, 3


def make_fixtures(folder: Path, bundle: Path, sealed: Path, checkpoint: MenteeCheckpoint) -> None:
    """Fills `folder`; `bundle` and `sealed` are folders that their zips and keys lie beside."""
    shutil.copytree(bundle.parent, folder / "bundle")
    shutil.copytree(sealed.parent, folder / "sealed")
    make_keys(folder / "other-private.pem", folder / "other.pem")
    write_packs(folder, bundle)
    write_mutants(folder, bundle)
    write_photos(folder)
    write_draws(folder)
    write_decisions(folder)
    write_bundles(folder / "stock", checkpoint)
    write_learning(folder)
    write_runtimes(folder)
    write_checkpoint(folder)
    write_states(folder)
    write_newer(folder, checkpoint)
    (folder / "naming.json").write_text(json.dumps(write_naming(folder)))
    (folder / "merged.json").write_text(json.dumps(merged(folder / "stock" / "adamw", folder)))
    (folder / "moved.json").write_text(json.dumps(moved(folder / "stock" / "adamw", folder / "stock" / "newer")))
    (folder / "labelled.json").write_text(json.dumps(labelled(folder / "stock" / "adamw")))
    (folder / "owner.json").write_text(json.dumps(lived(folder / "stock" / "adamw")))


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


def write_draws(folder: Path) -> None:
    """random.json: choices without replacement by numpy's generator from several seeds, its state after them, then an
    order of 17, a whole number below 1000 and resamples."""
    said = []
    for seed in (0, 1, 12345, 2**32, 2**70 + 5, 2**200 + 17):
        random, draws = np.random.default_rng(seed), []
        for count, size in ((10, 3), (1, 1), (60, 16), (5, 5), (100_000, 20), (20_000, 500), (60, 16), (3, 2)):
            draws.append([count, size, random.choice(np.arange(count), size, replace=False).tolist()])
        state = dict(random.bit_generator.state)
        numbers = {name: str(value) for name, value in state["state"].items()}  # of 128 bits
        rest = {name: state[name] for name in ("has_uint32", "uinteger")}
        order = [random.permutation(np.arange(17)).tolist(), int(random.integers(1000))]
        counts = [random.multinomial(size, np.full(size, 1 / size)).tolist() for size in (1, 2, 7, 150)]
        said.append({"seed": str(seed), "draws": draws, "state": numbers | rest, "order": order, "counts": counts})
    (folder / "random.json").write_text(json.dumps(said))


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
