"""The bytes of an exported state: one line of JSON, then a record and its parts, encrypted as a whole where there is a key.

docs/device-state.md is the contract; device/js/src/portable/container.ts reads and writes the same.
"""

import hmac
import json
import os
from dataclasses import dataclass
from hashlib import sha256
from typing import IO, Any

from mentee_device.bundle.manifest import strict_json
from mentee_device.relocate.portable.checks import Misfit, keys, list_of, matching, one_of, whole
from mentee_device.state.storage.database import StateError
from mentee_device.state.storage.encryption import KEY_BYTES, NONCE_BYTES

FORMAT = "mentee-state/2"
FAMILY = "mentee-state/"
LONGEST_HEAD = 4096
MOST_BYTES = 1 << 30  # of a body: it is held in memory
MOST_RECORD = 1 << 26
MOST_PARTS = 100_000
LENGTH = 8  # bytes before the record that say how long it is
TAG_BYTES = 16

HEX = matching(r"[0-9a-f]{64}", "64 hex digits")
HEAD = keys(
    {
        "format": one_of(FORMAT),
        "bundle": HEX,
        "encrypted": one_of(True, False),
        "bytes": whole(most=MOST_BYTES),
        "sha256": HEX,
    }
)
PARTS = list_of(keys({"bytes": whole(most=MOST_BYTES), "sha256": HEX}), MOST_PARTS)


@dataclass(frozen=True)
class Content:
    """`record` as record.py has it, without its `parts`, whose bytes are here."""

    record: dict[str, Any]
    parts: list[bytes]


def packed(content: Content, bundle: str, key: bytes | None) -> bytes:
    """The whole file. Raises StateError where it would be too large."""
    table = [{"bytes": len(part), "sha256": sha256(part).hexdigest()} for part in content.parts]
    record = json.dumps({**content.record, "parts": table}, allow_nan=False, separators=(",", ":")).encode()
    body = b"".join([len(record).to_bytes(LENGTH, "little"), record, *content.parts])
    if key is not None:
        nonce = os.urandom(NONCE_BYTES)
        body = nonce + _cipher(key).encrypt(nonce, body, bundle.encode())
    if len(body) > MOST_BYTES or len(record) > MOST_RECORD or len(table) > MOST_PARTS:
        raise StateError(
            f"the state makes a file of {len(body)} bytes, at most {MOST_BYTES} can be read back: unlearn some samples, or "
            "lower most_versions"
        )
    head = {"format": FORMAT, "bundle": bundle, "encrypted": key is not None, "bytes": len(body)}
    return json.dumps({**head, "sha256": sha256(body).hexdigest()}).encode() + b"\n" + body


def read_head(file: IO[bytes], name: str) -> dict[str, Any]:
    """The first line, as far as any format has it. Raises StateError for what is no exported state."""
    line = file.readline(LONGEST_HEAD)
    try:
        head = strict_json(line)
    except ValueError:
        head = None
    known = isinstance(head, dict) and isinstance(head.get("format"), str) and head["format"].startswith(FAMILY)
    if not known or not line.endswith(b"\n"):
        raise StateError(f"{name} is no exported state: expected a file that `export-state` wrote")
    return dict(head)


def require_bundle(head: dict[str, Any], name: str, bundle: str) -> None:
    """Raises StateError for the state of another bundle."""
    if head.get("bundle") != bundle:
        raise StateError(
            f"{name} belongs to bundle {str(head.get('bundle'))[:12]}…, this one is {bundle[:12]}…: bring both devices to "
            "one bundle with `migrate`, then export again"
        )


def unpacked(head: dict[str, Any], file: IO[bytes], size: int, name: str, bundle: str, key: bytes | None) -> Content:
    """The rest of `file` after `head`, `size` bytes. Raises StateError for what is not whole, of another format or bundle, under
    another key, or beyond a bound, before it takes memory for it."""
    if head["format"] != FORMAT:
        raise StateError(
            f"{name} has format {head['format'][:40]!r}, this program reads {FORMAT!r}: update the program"
        )
    require_bundle(head, name, bundle)
    try:
        HEAD(head, "")
    except Misfit as error:
        raise StateError(f"{name} is damaged in its first line ({error}): export it again") from error
    body = file.read(head["bytes"]) if size == head["bytes"] else b""
    if len(body) != head["bytes"] or sha256(body).hexdigest() != head["sha256"]:
        raise StateError(f"{name} is cut off or was altered (its sha256 does not match): export it again")
    if head["encrypted"]:
        body = _decrypted(body, name, bundle, key)
    try:
        return _parts_of(body)
    except ValueError as error:  # a Misfit is one
        raise StateError(f"{name} was not made by a program of this format ({str(error)[:200]}): refused") from error


def _decrypted(body: bytes, name: str, bundle: str, key: bytes | None) -> bytes:
    if key is None:
        raise StateError(f"{name} is encrypted: its key is needed (key=…, --key-file FILE)")
    cipher = _cipher(key)  # says what is not installed
    from cryptography.exceptions import InvalidTag

    try:
        return bytes(cipher.decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], bundle.encode()))
    except (InvalidTag, ValueError) as error:
        raise StateError(f"{name} is encrypted under another key: give the one it was exported with") from error


def _cipher(key: bytes) -> Any:
    """AES-256-GCM, which browsers have too, under a key of its own: that of the state seals its rows otherwise."""
    if len(key) != KEY_BYTES:
        raise StateError(f"the key has {len(key)} bytes, expected {KEY_BYTES} random ones, as os.urandom gives them")
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise StateError(f"a key needs the package `cryptography` ({error}): pip install cryptography") from error
    return AESGCM(hmac.new(key, FORMAT.encode(), "sha256").digest())


def _parts_of(body: bytes) -> Content:
    length = int.from_bytes(body[:LENGTH], "little")
    if len(body) < LENGTH or length > min(MOST_RECORD, len(body) - LENGTH):
        raise Misfit(f"a record of {length} bytes in {len(body)}")
    at = LENGTH + length
    record = strict_json(body[LENGTH:at])
    if not isinstance(record, dict) or "parts" not in record:
        raise Misfit("a record without parts")
    table = record.pop("parts")
    PARTS(table, "parts")
    if sum(part["bytes"] for part in table) != len(body) - at:
        raise Misfit("parts of other sizes than it says")
    parts = []
    for part in table:
        parts.append(body[at : at + part["bytes"]])
        at += part["bytes"]
        if sha256(parts[-1]).hexdigest() != part["sha256"]:
            raise Misfit(f"part {len(parts) - 1} has another sha256")
    return Content(record, parts)
