"""Checks who made a bundle by its Ed25519 signature (RFC 8032), 64 bytes over manifest.json, which has all files' sha256."""

import stat
from pathlib import Path

from mentee_device.bundle.errors import BundleError


def check_signature(signature: Path, manifest: bytes, key: Path) -> None:
    """Raises BundleError unless `signature` is one of `manifest` by the private key to `key`, a public key's PEM file."""
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as error:
        raise BundleError(
            f"a signature needs the package `cryptography` ({error}): pip install cryptography"
        ) from error
    try:
        public = load_pem_public_key(key.read_bytes())
    except (OSError, ValueError) as error:
        raise BundleError(f"no public key can be read from {key} ({error}): expected a PEM file") from error
    if not isinstance(public, Ed25519PublicKey):
        raise BundleError(f"{key} is not an Ed25519 public key: expected the one that `mentee-export keygen` made")
    try:
        plain = stat.S_ISREG(signature.lstat().st_mode)
    except OSError:
        plain = False
    if not plain:
        raise BundleError(f"the bundle holds no {signature.name}: expected a signed one, refused")
    try:
        public.verify(signature.read_bytes(), manifest)
    except InvalidSignature as error:
        raise BundleError(
            f"{signature.name} is not this key's signature of manifest.json: altered, or made by another, refused"
        ) from error
