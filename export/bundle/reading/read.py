"""Reading a bundle on the server's side: every check of docs/bundle.md, before any runtime parses anything.

The device program has checks of its own, since neither side may know the other; the tests run both over the same broken bundles.
"""

import hashlib
import json
import lzma
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from export.bundle.reading.backends import require_backends
from export.bundle.reading.files import recover
from export.bundle.reading.paths import GRAPH_SUFFIX, is_plain_path
from export.bundle.reading.scratch import scratch_folder
from export.graph.ports import input_names, output_names
from mentor_mentee.errors import UserError
from mentor_mentee.objective.loss_spec import LossSpec

MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
LARGEST_BUNDLE = 1 << 30
MOST_FILES = 1000
LARGEST_MANIFEST = 16 << 20
FURTHEST = 1e6  # standard deviations of a sample from the mean; the device program has the same bound
NOT_A_ZIP = (  # what zipfile raises of a damaged one, or one that is packed or encrypted in a way it does not know
    *(zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, IndexError, OverflowError),
    *(struct.error, zlib.error, lzma.LZMAError),
)


@cache
def manifest_schema() -> dict[str, Any]:
    """The published schema, JSON Schema 2020-12."""
    content: dict[str, Any] = json.loads(Path(__file__).with_name("manifest.schema.json").read_text(encoding="utf-8"))
    return content


def require_schema(manifest: dict[str, Any]) -> None:
    """Raises `UserError` naming the first place where `manifest` is not what the schema says."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(manifest_schema()).iter_errors(manifest))
    if error is not None:
        raise UserError(
            f"manifest.json at {error.json_path.removeprefix('$.')}: {shortened(error.message)}; make the bundle again"
        )


def shortened(message: str) -> str:
    return message if len(message) < 200 else f"{message[:100]} … {message[-90:]}"


@contextmanager
def opened(path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Folder and manifest of the bundle at `path`, a folder or a zip (unpacked for as long as the block lasts).

    Raises `UserError` for anything that docs/bundle.md tells a reader to refuse.
    """
    require_there(path)
    if path.is_dir():
        yield path, checked(path)
        return
    with scratch_folder() as folder:
        unzip(path, folder)
        yield folder, checked(folder)


def require_there(path: Path) -> None:
    """Raises `UserError` where there is neither a folder nor a file, also after a killed export was recovered."""
    if not path.exists():
        recover(path)
    if not path.is_dir() and not path.is_file():
        raise UserError(f"no bundle at '{path}'; expected a folder with {MANIFEST}, or a zip of it")


def checked(folder: Path) -> dict[str, Any]:
    """manifest.json of `folder` when it and every file hold. Raises `UserError`."""
    if not is_plain(folder / MANIFEST):
        raise UserError(f"'{folder}' holds no file {MANIFEST}: it is not a bundle")
    if (folder / MANIFEST).stat().st_size > LARGEST_MANIFEST:
        raise UserError(f"{MANIFEST} in '{folder}' is above {LARGEST_MANIFEST} bytes: refused")
    text = (folder / MANIFEST).read_bytes()
    try:
        manifest = json.loads(text, parse_constant=refuse_constant, object_pairs_hook=refuse_key_twice)
        json.dumps(manifest, ensure_ascii=False).encode()  # half a character (a lone surrogate) could be shown nowhere
    except (ValueError, RecursionError) as error:
        raise UserError(f"{MANIFEST} is not JSON ({error}); fetch the bundle again") from None
    if not isinstance(manifest, dict):
        raise UserError(f"{MANIFEST} holds no object; fetch the bundle again")
    require_schema(manifest)
    require_id(text, manifest["id"])
    for name, entry in manifest["files"].items():
        require_path(name, f"{MANIFEST}: path")
        require_file(folder, name, entry)
    listed = {*manifest["files"], MANIFEST, SIGNATURE}
    for found in sorted(folder.rglob("*")):
        name = found.relative_to(folder).as_posix()
        if name not in listed and (found.is_symlink() or not found.is_dir()):
            raise UserError(
                f"'{name}' is in the bundle but {MANIFEST} does not list it; remove it or fetch the bundle again"
            )
    require_references(manifest)
    from export.bundle.reading.graphs import require_graphs  # imports onnx, which a mistake above does not wait for

    require_graphs(folder, manifest)
    return manifest


def require_id(text: bytes, stated: str) -> None:
    if text.count(stated.encode()) != 1:
        raise UserError(f"{MANIFEST}: its id does not occur exactly once; fetch the bundle again")
    if (digest := hashlib.sha256(text.replace(stated.encode(), b"0" * 64)).hexdigest()) != stated:
        raise UserError(f"{MANIFEST} says id {stated[:12]}…, its content gives {digest[:12]}…: altered; fetch it again")


def require_file(folder: Path, name: str, entry: dict[str, Any]) -> None:
    place = folder
    for part in name.split("/"):
        place = place / part
        if place.is_symlink():
            raise UserError(f"'{name}' is a link or lies behind one; a bundle holds plain files only")
    if not is_plain(place):
        raise UserError(f"'{name}' is missing from the bundle; fetch it again")
    if (size := place.stat().st_size) != entry["bytes"]:
        raise UserError(f"'{name}' has {size} bytes, expected {entry['bytes']}: truncated or altered; fetch it again")
    with place.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != entry["sha256"]:
        raise UserError(
            f"'{name}' has sha256 {digest[:12]}…, expected {entry['sha256'][:12]}…: altered; fetch it again"
        )


def require_references(manifest: dict[str, Any]) -> None:
    """Checks what a schema cannot say of a manifest. Raises `UserError`."""
    graphs, view, probes = (
        manifest["graphs"],
        manifest["preprocessing"],
        [probe["name"] for probe in manifest["probes"]],
    )
    stock, checkpoint = manifest.get("stock", {}), manifest.get("checkpoint", {})
    spec = LossSpec(**loss_spec(manifest))
    require_backends(manifest, input_names(probes), output_names(probes, spec))
    stock_graphs = [part for name, part in stock.items() if name != "state"]
    named = [
        *(graph["file"] for graph in graphs.values()),
        *(part["file"] for part in stock.values()),
        *(manifest[key]["file"] for key in ("supervision", "golden")),
        *(checkpoint[key] for key in ("file", "parameters") if key in checkpoint),
        *(variant["file"] for variant in manifest.get("variants", {}).values() if "file" in variant),
    ]
    for name in named:
        if name not in manifest["files"]:
            raise UserError(f"{MANIFEST} refers to '{name}', which its `files` does not list; make the bundle again")
    variants = [variant for variant in manifest.get("variants", {}).values() if "file" in variant]
    for graph in (*graphs.values(), *stock_graphs, *variants):
        if not graph["file"].endswith(GRAPH_SUFFIX):
            raise UserError(f"{MANIFEST}: the graph '{graph['file'][:70]}' does not end in {GRAPH_SUFFIX}: refused")
    classes, spare = manifest["classes"], manifest.get("spare_classes", [])
    if classes[len(classes) - len(spare) :] != spare or len(classes) - len(spare) < 1:
        raise UserError(f"{MANIFEST}: spare_classes are not the last of several classes; make the bundle again")
    if not len(view["mean"]) == len(view["std"]) == view["shape"][0]:
        raise UserError(
            f"{MANIFEST}: preprocessing needs one mean and one std for each channel of shape {view['shape']}"
        )
    for mean, std in zip(view["mean"], view["std"], strict=True):
        furthest = abs(mean) if view.get("dtype") == "float32" else max(abs(mean), abs(1 - mean))
        if furthest > FURTHEST * std:
            raise UserError(
                f"{MANIFEST}: mean {mean:g} and std {std:g} put a sample {furthest / std:.3g} standard deviations away, "
                f"expected at most {FURTHEST:g}; make the bundle again"
            )


def loss_spec(manifest: dict[str, Any]) -> dict[str, Any]:
    """Fields of a manifest's `loss` that the names of the graphs' outputs follow from."""
    return {name: manifest["loss"][name] for name in ("probe", "softmax") if name in manifest["loss"]}


def unzip(source: Path, folder: Path) -> None:
    """Raises `UserError` for an entry that could write or grow elsewhere, before anything is written."""
    try:
        with zipfile.ZipFile(source) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            require_entries(entries, source)
            for entry in entries:
                target = folder / entry.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as packed, target.open("xb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
    except UserError:
        raise
    except NOT_A_ZIP as error:
        raise UserError(f"'{source}' is not a complete zip ({error}); fetch it again") from None
    except OSError as error:
        raise UserError(f"'{source}' cannot be unpacked ({error}); check its permissions and the free space") from None


def require_entries(entries: list[zipfile.ZipInfo], source: Path) -> None:
    names = [entry.orig_filename for entry in entries]  # filename is tidied up by zipfile
    if len(entries) > MOST_FILES or sum(entry.file_size for entry in entries) > LARGEST_BUNDLE:
        raise UserError(f"'{source}' has over {MOST_FILES} files or unpacks to over {LARGEST_BUNDLE} bytes: refused")
    for entry, name in zip(entries, names, strict=True):
        if name not in (MANIFEST, SIGNATURE):
            require_path(name, "zip entry")
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG) or entry.flag_bits & 1:
            raise UserError(f"zip entry '{name}' is a link or special file, or encrypted: refused")
    if len({name.lower() for name in names}) != len(names):
        raise UserError(f"'{source}' has two entries of one name: refused")


def require_path(name: str, what: str) -> None:
    if not is_plain_path(name):
        raise UserError(f"{what} {name[:200]!r} leaves the folder, or is not a plain relative path: refused")


def is_plain(place: Path) -> bool:
    try:
        return stat.S_ISREG(place.lstat().st_mode)
    except OSError:
        return False


def refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def refuse_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)[:70]!r} twice in one object")
    return found
