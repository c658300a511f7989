"""A bundle from a stranger's hands to a checked, read-only folder.

Nothing here or above it parses a graph, a checkpoint or a pack before every byte of the folder has been accounted for
by the manifest. Paths are checked before they are opened, sizes before contents are read.
"""

import lzma
import os
import shutil
import stat
import struct
import weakref
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from mentee_device.bundle import manifest as manifests
from mentee_device.bundle.errors import BundleError
from mentee_device.bundle.graphs import check_graphs
from mentee_device.bundle.manifest import FileEntry, Manifest
from mentee_device.bundle.samples import Samples, Supervision, read_golden, read_supervision
from mentee_device.bundle.scratch import Scratch
from mentee_device.bundle.signature import check_signature
from mentee_device.files import as_path, sha256_of

MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
MAX_MANIFEST_BYTES = 16 << 20
MAX_BYTES = 1 << 30  # of one bundle, unpacked: what a zip may ask of a phone's storage
MAX_FILES = 1000
NOT_A_ZIP = (  # what zipfile raises of a damaged one, or one that is packed or encrypted in a way it does not know
    zipfile.BadZipFile,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    IndexError,
    OverflowError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
)


class Bundle:
    """One opened bundle: `folder` (checked when opened, not guarded afterwards) and its `manifest`.

    A bundle that came as a zip lives in a private temporary folder until `close`, the end of a `with`, or exit.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._remove: weakref.finalize[[], Bundle] | None = None
        self._whole: Bundle | None = None  # whose folder it is, where that is another's

    @classmethod
    def open(cls, path: str | os.PathLike[str], key: str | os.PathLike[str] | None = None) -> "Bundle":
        """A folder or a zip whose root holds manifest.json. Raises BundleError, and leaves nothing behind then.

        Given `key`, the PEM file of an Ed25519 public key, only a bundle that the holder of the private one signed.

        Reads every byte once for its sha256: about 1 s per GB on a desktop core, 2 ms for a 1 MB bundle.
        """
        source = as_path(path, BundleError)
        try:
            return cls._open(source, None if key is None else as_path(key, BundleError))
        except OSError as error:
            raise BundleError(
                f"{source} cannot be read ({str(error)[:300]}): check its permissions and the free space"
            ) from error

    @classmethod
    def _open(cls, source: Path, key: Path | None) -> "Bundle":
        if source.is_dir():
            return cls(source, check_folder(source, key))
        if not source.is_file():
            raise BundleError(f"no bundle at {source}: expected a folder with manifest.json, or a zip of it")
        scratch = Scratch()
        try:
            unzip(source, scratch.folder)
            bundle = cls(scratch.folder, check_folder(scratch.folder, key))
        except BaseException:
            scratch.remove()
            raise
        bundle._remove = weakref.finalize(bundle, scratch.remove)
        return bundle

    def named(self, names: Mapping[str, str]) -> "Bundle":
        """The same bundle with names for spare classes: `Manifest.named`. It lives as long as this one."""
        if not self.manifest.spare:
            return self
        same = Bundle(self.folder, self.manifest.named(names))
        same._whole = self
        return same

    def path(self, file: str) -> Path:
        """The place of the file that the manifest calls `file`."""
        return self.folder / file

    def supervision(self) -> Supervision:
        """The replay samples with the mentor's answers, read whole into memory. Raises BundleError."""
        return read_supervision(self.path(self.manifest.supervision), self.manifest)

    def golden(self) -> Samples:
        """The samples that the guard judges a run by. Raises BundleError."""
        return read_golden(self.path(self.manifest.golden), self.manifest)

    def close(self) -> None:
        """Removes the temporary folder of a zip; a bundle that was a folder stays as it is."""
        if self._remove is not None:
            self._remove()

    def __enter__(self) -> "Bundle":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_folder(folder: Path, key: Path | None = None) -> Manifest:
    """Makes all checks of docs/bundle.md, "Reading one safely", in its order; the manifest. Raises BundleError."""
    if not _is_regular(folder / MANIFEST):
        raise BundleError(f"{folder} holds no regular file {MANIFEST}: it is not a bundle")
    if (folder / MANIFEST).stat().st_size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{MANIFEST} in {folder} is above {MAX_MANIFEST_BYTES} bytes: refused")
    text = (folder / MANIFEST).read_bytes()
    if key is not None:
        check_signature(folder / SIGNATURE, text, key)
    raw = manifests.parse_json(text)
    manifests.check_id(text, raw)
    files = manifests.parse_files(raw)
    for name, entry in files.items():
        _check_no_link(folder, name)
        _check_file(folder / name, name, entry)
    for name in sorted(_names(folder) - files.keys() - {MANIFEST, SIGNATURE}):
        raise BundleError(
            f"{name!r} is in the bundle but manifest.json does not list it: remove it or fetch the bundle again"
        )
    manifest = manifests.parse(raw)
    check_graphs(folder, manifest)
    return manifest


def unzip(source: Path, folder: Path) -> None:
    """Unpacks `source` into the empty `folder`. Raises BundleError for any entry that could write or grow elsewhere."""
    try:
        with zipfile.ZipFile(source) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            _check_entries(entries)
            for entry in entries:
                target = folder / entry.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as packed, target.open("xb") as unpacked:
                    shutil.copyfileobj(packed, unpacked, 1 << 20)  # zipfile stops at the size the entry declares
    except BundleError:
        raise
    except NOT_A_ZIP as error:
        raise BundleError(f"{source} is not a complete zip ({error}): fetch it again") from error


def _check_entries(entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > MAX_FILES:
        raise BundleError(f"the zip has {len(entries)} files, at most {MAX_FILES} are accepted: refused")
    size = sum(entry.file_size for entry in entries)
    if size > MAX_BYTES:
        raise BundleError(f"the zip unpacks to {size} bytes, at most {MAX_BYTES} are accepted: refused")
    seen: set[str] = set()
    for entry in entries:
        if entry.orig_filename not in (MANIFEST, SIGNATURE):
            manifests.check_path(entry.orig_filename)  # orig_filename: zipfile tidies the other one up
        if entry.flag_bits & 1:
            raise BundleError(f"zip entry {entry.filename!r} is encrypted: expected a plain zip")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise BundleError(f"zip entry {entry.filename!r} is a link or special file: refused")
        if entry.filename.lower() in seen:  # lower: two such names are one file on a phone's storage
            raise BundleError(f"zip entry {entry.filename!r} appears twice: refused")
        seen.add(entry.filename.lower())


def _check_no_link(folder: Path, name: str) -> None:
    place = folder
    for part in name.split("/"):
        place = place / part
        if place.is_symlink():
            raise BundleError(f"{name!r} is a link or lies behind one: a bundle holds plain files only, refused")


def _check_file(place: Path, name: str, entry: FileEntry) -> None:
    if not _is_regular(place):
        raise BundleError(f"{name!r} is missing from the bundle: fetch it again")
    size = place.stat().st_size
    if size != entry.size:
        raise BundleError(f"{name!r} has {size} bytes, expected {entry.size}: truncated or altered, fetch it again")
    digest = sha256_of(place)
    if digest != entry.sha256:
        raise BundleError(f"{name!r} has sha256 {digest[:12]}…, expected {entry.sha256[:12]}…: altered, refused")


def _is_regular(place: Path) -> bool:
    try:
        return stat.S_ISREG(place.lstat().st_mode)
    except OSError:
        return False


def _names(folder: Path) -> set[str]:
    names: set[str] = set()
    for parent, folders, files in os.walk(folder):  # follows no links; a linked folder must count as a stray entry
        linked = [name for name in folders if (Path(parent) / name).is_symlink()]
        names.update((Path(parent) / name).relative_to(folder).as_posix() for name in [*files, *linked])
    return names
