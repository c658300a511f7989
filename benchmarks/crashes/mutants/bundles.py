"""Mutants of a bundle: what goes wrong on the way, and what a stranger would try. Seeded: one number is one mutant."""

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import onnx

from benchmarks.crashes.mutants import graphs, packs, zips

STOCK = "stock"
STOCK_GRAPHS = ("gradients", "optimizer", "forward")
GRAPHS = (
    "inference.onnx",
    *(f"ort-training/{name}_model.onnx" for name in ("training", "eval", "optimizer")),
    *(f"{STOCK}/{name}.onnx" for name in STOCK_GRAPHS),
)
STATE = f"{STOCK}/state.safetensors"
NO_ID = "0" * 64
EXTREMES: list[Any] = [
    *(
        None,
        True,
        False,
        -1,
        0,
        1,
        2,
        255,
        10**9,
        2**53,
        2**63,
        2**64,
        10**400,
        -(10**30),
        1e-300,
        1e300,
        3e38,
        -3e38,
        1e38,
    ),
    *(
        1e-38,
        1e-46,
        1e6,
        0.5,
        -0.0,
        "",
        "NaN",
        "\ud800",
        "a\x00b",
        "../x",
        "/etc/passwd",
        "$",
        "${now:}",
        "\n",
        "\u202e",
        "é" * 300,
    ),
    *("x" * 100_000, [], {}, [0], [1] * 100, [[]], [None], [1e300], ["a", "a"], {"": {}}, {"name": 1}),
]
FREE = ("learning_rate", "alpha", "beta", "gamma", "temperature", "accumulate", "rate_scale", "weight_decay")


@dataclass(frozen=True)
class Mutant:
    """A mutant at `path`. `says_so`: its manifest states another rule of learning, which a device cannot know to be wrong."""

    kind: str
    what: str
    path: Path
    says_so: bool = False


def make(base: Path, folder: Path, seed: int, number: int) -> Mutant:
    """The mutant `number` of this seed, in `folder` or a zip beside it."""
    chance = random.Random(f"{seed} {number}")
    shutil.copytree(base, folder)
    kinds = KINDS | (KINDS_OF_STOCK if (folder / STOCK).is_dir() else {})
    kind = chance.choice([*kinds])
    what = kinds[kind](folder, chance)
    path = folder
    if kind == "zip":
        path = folder.with_suffix(".zip")
        what = zips.write(folder, path, chance)
    says_so = kind == "manifest" and any(f".{word}" in what for word in FREE)
    return Mutant(kind, what, path, says_so)


def altered_bytes(folder: Path, chance: random.Random, under: str = "") -> str:
    """Bytes of one file, as a bad download has them."""
    path = chance.choice(_files(folder / under))
    data = bytearray(path.read_bytes())
    how = chance.choice(("flip", "flip", "cut", "zero", "grow", "gone", "empty"))
    if how == "flip":
        for _ in range(chance.choice((1, 1, 3, 20))):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif how == "cut":
        del data[chance.randrange(len(data)) :]
    elif how == "zero":
        start = chance.randrange(len(data))
        data[start : start + 512] = bytes(len(data[start : start + 512]))
    elif how == "grow":
        data += chance.randbytes(chance.choice((1, 4096)))
    elif how == "empty":
        data.clear()
    path.write_bytes(data)
    if how == "gone":
        path.unlink()
    return f"{how} {path.relative_to(folder)}"


def sealed_bytes(folder: Path, chance: random.Random, under: str = "") -> str:
    """The same, with right sums: as somebody does it who knows the format."""
    what = altered_bytes(folder, chance, under)
    reseal(folder)
    return what


def swapped(folder: Path, chance: random.Random) -> str:
    """One file's bytes in another's place, with right sums."""
    one, other = chance.sample(_files(folder), 2)
    data = one.read_bytes()
    if chance.random() < 0.5:
        one.write_bytes(other.read_bytes())
    other.write_bytes(data)
    reseal(folder)
    return f"{one.relative_to(folder)} and {other.relative_to(folder)}"


def manifest(folder: Path, chance: random.Random, section: str | None = None) -> str:
    """One field of the manifest, or of a section of it, with a right id."""
    content = json.loads((folder / "manifest.json").read_text())
    node, place = (content, "") if section is None else (content[section], f".{section}")
    while True:
        key = chance.choice([*node] if isinstance(node, dict) else range(len(node)))
        place += f".{key}"
        if not isinstance(node[key], dict | list) or not node[key] or chance.random() < 0.15:
            break
        node = node[key]
    how = chance.choice(("put", "put", "put", "put", "drop", "twice", "deep", "more", "turn"))
    value = chance.choice(EXTREMES)
    if how == "put":
        node[key] = value
    elif how == "drop":
        del node[key]
    elif how == "deep":
        node[key] = "DEEP"
    elif how == "more" and isinstance(node, dict):
        node["another"] = value
    elif how == "turn" and isinstance(node[key], list):
        node[key].reverse()
    text = json.dumps({**content, "id": NO_ID}, indent=1)
    if how == "deep":
        depth = chance.choice((20, 900, 100_000))
        text = text.replace('"DEEP"', "[" * depth + "]" * depth)
    if how == "twice":
        text = text.replace('"classes": [', '"classes": ["x"], "classes": [', 1)
    _write(folder, text)
    return f"{how} {place} {str(value)[:40]!r}"


def classes(folder: Path, chance: random.Random) -> str:
    """Other names of the classes."""
    content = json.loads((folder / "manifest.json").read_text())
    names = content["classes"]
    odd = [
        "$",
        "${now:}",
        "$x",
        "a\nb",
        "\x00",
        "\x1b[31m",
        "\u202egnp",
        "",
        " ",
        "\ud800",
        "é",
        "x" * 70_000,
        "{}",
        "%s",
        "-1",
    ]
    how = chance.choice(("odd", "odd", "reversed", "shuffled", "more", "fewer"))
    if how == "odd":
        names[chance.randrange(len(names))] = chance.choice(odd)
    elif how == "reversed":
        names.reverse()
    elif how == "shuffled":
        chance.shuffle(names)
    elif how == "more":
        names += [f"class {number}" for number in range(chance.choice((1, 1000, 100_000)))]
    else:
        names.pop()
    _write(folder, json.dumps({**content, "id": NO_ID}, indent=1))
    return f"{how} {str(names[:3])[:60]!r}"


def graph(folder: Path, chance: random.Random) -> str:
    """One graph, edited as protobuf, with right sums."""
    path = folder / chance.choice([name for name in GRAPHS if (folder / name).is_file()])
    what = graphs.edit(path, chance)
    reseal(folder)
    return f"{what} in {path.relative_to(folder)}"


def stock_graph(folder: Path, chance: random.Random) -> str:
    """One stock graph likewise."""
    name = chance.choice(STOCK_GRAPHS)
    what = graphs.edit(folder / STOCK / f"{name}.onnx", chance)
    reseal(folder)
    return f"{what} in {name}"


def stock_ports(folder: Path, chance: random.Random) -> str:
    """Other inputs or outputs of a stock graph, which half of the manifests tell of; with right sums."""
    name = chance.choice(STOCK_GRAPHS)
    path = folder / STOCK / f"{name}.onnx"
    what = graphs.edit(path, chance, graphs.PORTS)
    content = json.loads((folder / "manifest.json").read_text())
    if told := chance.random() < 0.5:
        graph, stated = onnx.load(path, load_external_data=False).graph, content[STOCK][name]
        for kind, ports in (("inputs", graph.input), ("outputs", graph.output)):
            known = {port["name"]: port for port in stated[kind]}
            stated[kind] = [
                {**known.get(port.name, stated[kind][0]), "name": port.name, "shape": graphs.shape_of(port)}
                for port in ports
            ]
        _write(folder, json.dumps({**content, "id": NO_ID}, indent=1))
    reseal(folder)
    return f"{what} in {name}{', told' if told else ''}"


def weights(folder: Path, chance: random.Random) -> str:
    """The numbers that learning begins with, with right sums."""
    places = (STATE, "ort-training/parameters.bin", "ort-training/checkpoint")
    what = packs.edit_weights(next(folder / name for name in places if (folder / name).is_file()), chance)
    reseal(folder)
    return what


def state(folder: Path, chance: random.Random) -> str:
    """The state of stock graphs: other tensors or another header, with right sums."""
    what = packs.edit_state(folder / STATE, chance)
    reseal(folder)
    return what


def pack(folder: Path, chance: random.Random) -> str:
    """One pack of samples, with right sums."""
    path = folder / chance.choice(("golden.safetensors", "supervision.safetensors"))
    what = packs.edit_pack(path, chance)
    reseal(folder)
    return f"{what} in {path.name}"


KINDS: dict[str, Callable[[Path, random.Random], str]] = {
    "bytes": altered_bytes,
    "bytes, sealed": sealed_bytes,
    "swapped files": swapped,
    "manifest": manifest,
    "classes": classes,
    "graph": graph,
    "weights": weights,
    "pack": pack,
    "zip": lambda folder, chance: "",
}
KINDS_OF_STOCK: dict[str, Callable[[Path, random.Random], str]] = {
    "stock bytes, sealed": partial(sealed_bytes, under=STOCK),
    "stock manifest": partial(manifest, section=STOCK),
    "stock graph": stock_graph,
    "stock ports": stock_ports,
    "state": state,
}


def reseal(folder: Path) -> None:
    """`files` and `id` of the manifest as the folder is now, if there is a manifest to say it."""
    try:
        content = json.loads((folder / "manifest.json").read_text())
        content["files"] = {
            path.relative_to(folder).as_posix(): {
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "bytes": path.stat().st_size,
            }
            for path in _files(folder)
            if path.name != "manifest.json"
        }
    except (OSError, ValueError, TypeError, KeyError):
        return
    _write(folder, json.dumps({**content, "id": NO_ID}, indent=1))


def _write(folder: Path, text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    identity = hashlib.sha256(data).hexdigest()
    (folder / "manifest.json").write_bytes(data.replace(NO_ID.encode(), identity.encode()))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
