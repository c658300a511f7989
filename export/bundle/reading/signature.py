"""Ed25519 signatures (RFC 8032) of a bundle: who made it. `manifest.sig` holds 64 bytes over the bytes of manifest.json.

The manifest has the sha256 of every other file, so its signature covers the bundle.
"""

import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from export.bundle.reading.read import SIGNATURE
from mentor_mentee.errors import UserError


def make_keys(private: Path, public: Path) -> None:
    """Two PEM files, the private one for its owner's eyes only. Raises `UserError` where one of them exists."""
    key = Ed25519PrivateKey.generate()
    encoding, pem = serialization.Encoding, serialization.PublicFormat.SubjectPublicKeyInfo
    secret = key.private_bytes(encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for path in (private, public):
        if path.exists():
            raise UserError(f"'{path}' exists, and a lost key cannot be made again; choose another name")
    for path, content, mode in (
        (private, secret, 0o600),
        (public, key.public_key().public_bytes(encoding.PEM, pem), 0o644),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)


def private_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"no private key can be read from '{path}' ({error}); make one with `mentee-export keygen`"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UserError(f"'{path}' is not an Ed25519 private key; make one with `mentee-export keygen`")
    return key


def public_key(path: Path) -> Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(
            f"no public key can be read from '{path}' ({error}); expected the PEM file of `keygen`"
        ) from None
    if not isinstance(key, Ed25519PublicKey):
        raise UserError(f"'{path}' is not an Ed25519 public key; expected the PEM file of `keygen`")
    return key


def sign(folder: Path, key: Ed25519PrivateKey) -> None:
    (folder / SIGNATURE).write_bytes(key.sign((folder / "manifest.json").read_bytes()))


def require_signature(folder: Path, key: Ed25519PublicKey) -> None:
    """Raises `UserError` for a bundle that is unsigned, or signed by another key, or altered since."""
    if not (folder / SIGNATURE).is_file():
        raise UserError(f"the bundle is not signed: it holds no {SIGNATURE}; ask its maker for a signed one")
    try:
        key.verify((folder / SIGNATURE).read_bytes(), (folder / "manifest.json").read_bytes())
    except InvalidSignature:
        raise UserError(
            f"{SIGNATURE} is not this key's signature of manifest.json: altered, or made by another; do not use the bundle"
        ) from None
