"""A bundle as a zip that is damaged, too large, or has names that lead elsewhere."""

import random
import struct
import zipfile
from pathlib import Path

NAMES = (
    "../evil",
    "/evil",
    "a/../../evil",
    "..\\evil",
    "C:\\evil",
    "a\x00b",
    "é\u202e",
    "x" * 60_000,
    "a/" * 300 + "b",
    "MANIFEST.JSON",
)


def write(folder: Path, path: Path, chance: random.Random) -> str:
    """Writes the zip; what is wrong with it."""
    how = chance.choice(
        ("cut", "flip", "flip", "name", "name", "link", "twice", "bomb", "declared", "latin", "packing", "sound")
    )
    packing = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(path, "w", packing) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder).as_posix())
        if how == "name":
            archive.writestr(chance.choice(NAMES), b"evil")
        elif how == "link":
            entry = zipfile.ZipInfo("link")
            entry.external_attr = chance.choice((0o120777, 0o020777, 0o010777)) << 16
            archive.writestr(entry, "/etc/passwd")
        elif how == "bomb":
            archive.writestr("zeros", bytes(50_000_000), zipfile.ZIP_DEFLATED)
        elif how == "twice":
            archive.writestr(zipfile.ZipInfo("PARITY.JSON"), b"{}")
    data = bytearray(path.read_bytes())
    if how == "cut":
        del data[chance.randrange(len(data)) :]
    elif how == "flip":
        for _ in range(chance.choice((1, 5, 50))):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif how in ("declared", "packing", "latin"):
        at = data.rfind(b"PK\x01\x02")  # the last entry of the central directory
        if how == "declared":
            data[at + 24 : at + 28] = struct.pack("<I", chance.choice((0, 1, 2**31, 2**32 - 1)))
        elif how == "packing":
            data[at + 8] |= chance.choice((0, 1, 0x40))
            data[at + 10 : at + 12] = struct.pack("<H", chance.choice((1, 9, 12, 95, 99)))
        else:
            data[at + 9] |= 8  # says UTF-8
            data[at + 46] = 0xFF
    path.write_bytes(data)
    return f"{how}, packed as {packing}"
