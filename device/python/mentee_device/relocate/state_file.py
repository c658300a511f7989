"""An owner's state as one file, for another of the owner's devices or another client, and back: docs/device-state.md.

`portable` has the file's bytes and what they mean. Files of format 1, a copy of the SQLite database, are still read
(format_1.py). Like a bundle's id, a sha256 tells damage, not who made the file.
"""

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from mentee_device.bundle.archive import Bundle
from mentee_device.core.learner import Learner
from mentee_device.files import LONGEST, as_path, printable, replacing, sync_folder
from mentee_device.relocate import format_1
from mentee_device.relocate.portable.container import packed, read_head, require_bundle, unpacked
from mentee_device.relocate.portable.reading import check, fill
from mentee_device.relocate.portable.writing import content_of, layout_of
from mentee_device.state.device_state import DeviceState
from mentee_device.state.storage.database import StateError
from mentee_device.state.storage.lock import Lock
from mentee_device.state.storage.schema import LOCK, SCRUB
from mentee_device.state.storage.store import Store

IMPORTING = ".importing-"  # in the name of the folder beside, until all of it is there and fits
HELD = "importing"  # locked in it while its process lives


def export_state(state: DeviceState, path: str | os.PathLike[str]) -> int:
    """Writes all of `state` to `path`, whole or not at all, over what is there; its bytes. Raises StateError."""
    target = as_path(path, StateError)
    store = state.store
    if target.absolute().parent.resolve() == store.folder.resolve():
        raise StateError(f"{target} lies in the state's own folder: choose another place")
    with state.base() as base:
        layout = layout_of(state.manifest, base.parameters())
    file = packed(content_of(state, layout), store.bundle, store.seal.key)
    try:
        with replacing(target) as whole:
            whole.write_bytes(file)
        return target.stat().st_size
    except OSError as error:
        raise StateError(f"{target} cannot be written ({error.strerror}): choose another place") from error


def unpack_state(path: str | os.PathLike[str], folder: Path, base: Learner, key: bytes | None) -> None:
    """Makes the empty `folder` a state of the file at `path`, under `key`; `base` is the bundle's own mentee. Raises StateError
    for a file that is not whole, of another format, bundle or key, or whose content makes no sense."""
    fill_of = _read(path, base, key)
    if fill_of is None:
        format_1.unpack_database(as_path(path, StateError), folder)
        with opened(folder, path, base.bundle.manifest.id, key):
            return
    with Store(folder, base.bundle.manifest.id, key) as store:
        fill_of(store)


def _read(path: str | os.PathLike[str], base: Learner, key: bytes | None) -> Callable[[Store], None] | None:
    """A function that fills a store with the file's checked content; None for a file of format 1. Raises StateError."""
    name, manifest = str(path), base.bundle.manifest
    try:
        with as_path(path, StateError).open("rb") as file:
            head = read_head(file, name)
            if head["format"] == format_1.FORMAT:
                require_bundle(head, name, manifest.id)
                return None
            size = os.fstat(file.fileno()).st_size - file.tell()
            content = unpacked(head, file, size, name, manifest.id, key)
    except OSError as error:
        raise StateError(f"{path} cannot be read ({error.strerror})") from error
    parameters = base.parameters()
    check(content, manifest, parameters, name)
    return lambda store: fill(store, content, manifest, parameters)


def import_state(
    path: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    bundle: Bundle,
    key: bytes | None = None,
    *,
    replace: bool = False,
    backend: str | None = None,
) -> None:
    """Makes `folder` the state that was exported, bit for bit but for a line in the log; a killed import leaves what was there.

    The folder is new or empty, or with `replace` holds a state, which goes for good. `key`: 32 bytes that the file is encrypted
    with, and that the new state is encrypted with. Raises StateError.
    """
    place = as_path(folder, StateError)
    with Learner(bundle, backend=backend) as base:
        try:
            if place.exists() and not (place.is_dir() and {*os.listdir(place)} <= {LOCK}):
                _replace(path, place, base, key, replace)
            else:
                _make(path, place, base, key)
        except OSError as error:
            raise StateError(f"{place} cannot be made ({error.strerror})") from error


def _replace(path: str | os.PathLike[str], place: Path, base: Learner, key: bytes | None, replace: bool) -> None:
    """In one transaction of the state that is there."""
    fill_of = _read(path, base, key)
    with Store(place, None, key) as store:
        held = _held(store)
        if not replace:
            raise StateError(
                f"{place} is not empty, it holds {held}: import into a new folder, `merge` into the state that is there, or "
                "replace it with --replace (`replace=True`)"
            )
        if fill_of is None:
            raise StateError(f"{path} is of format 1, which can only be imported into a new folder")
        with store.transaction():
            fill_of(store)
            store.set(SCRUB, True)
            _note(store, path, f", in place of {held}")
        store.scrub()


def _held(store: Store) -> str:
    counts = (store.rows(f"SELECT count(*) FROM {table}")[0][0] for table in ("samples", "versions"))
    return f"{next(counts)} samples and {next(counts)} versions"


def _note(store: Store, path: str | os.PathLike[str], more: str = "") -> None:
    store.record("import", f"came from {printable(Path(path).name)}, exported on another device{more}")


def _make(path: str | os.PathLike[str], place: Path, base: Learner, key: bytes | None) -> None:
    """Whole beside `place`, then a rename."""
    _sweep(place)
    with _staging(place) as (staging, held):
        made = staging / "state"
        made.mkdir(mode=0o700)
        unpack_state(path, made, base, key)
        with opened(made, path, base.bundle.manifest.id, key) as store:
            _note(store, path)
        sync_folder(made)
        if place.exists():
            (place / LOCK).unlink(missing_ok=True)
            place.rmdir()
        os.replace(made, place)
        held.release()
    sync_folder(place.absolute().parent)


@contextlib.contextmanager
def _staging(place: Path) -> Iterator[tuple[Path, Lock]]:
    """A new folder beside `place` that nobody else uses, and what holds it; it is gone at the end. Raises OSError."""
    folder = Path(tempfile.mkdtemp(prefix=f".{place.name[:LONGEST]}{IMPORTING}", dir=place.absolute().parent))  # 0700
    held = Lock(folder / HELD)
    try:
        yield folder, held
    finally:
        held.release()
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(place: Path) -> None:
    """Removes what killed processes left of an import to `place`; one without its lock's file is not known to be ours."""
    for left in place.absolute().parent.glob(f".{glob.escape(place.name[:LONGEST])}{IMPORTING}????????"):
        if (left / HELD).is_file():
            with contextlib.suppress(OSError):
                Lock(left / HELD).release()
                shutil.rmtree(left, ignore_errors=True)


def opened(folder: Path, path: str | os.PathLike[str], bundle: str, key: bytes | None) -> Store:
    """The unpacked state in `folder`; what is wrong with it is said of the file at `path`. Raises StateError."""
    try:
        return Store(folder, bundle, key)
    except StateError as error:
        raise StateError(str(error).replace(str(folder), str(path))) from error
