"""Encryption at rest of what is personal: ChaCha20-Poly1305 (RFC 8439) of `cryptography`, under a key of the app's.

Each sealed value is bound to its place ("sample 12"), so that two rows of a stolen file cannot be exchanged unnoticed.
"""

import os
from hashlib import sha256
from typing import Any

from mentee_device.state.storage.database import StateError

KEY_BYTES, NONCE_BYTES = 32, 12


class Seal:
    """Seals and opens bytes under `key`; without one, bytes pass as they are. Raises StateError for an unfit key."""

    def __init__(self, key: bytes | None) -> None:
        self.key, self.keyed = key, key is not None
        self._cipher: Any = None
        self._mark = b""
        if key is None:
            return
        if len(key) != KEY_BYTES:
            raise StateError(
                f"the key has {len(key)} bytes, expected {KEY_BYTES} random ones, as os.urandom gives them"
            )
        try:
            from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
        except ImportError as error:
            raise StateError(f"a key needs the package `cryptography` ({error}): pip install cryptography") from error
        self._cipher = ChaCha20Poly1305(key)
        self._mark = _authenticate(key, b"mentee-device content mark").digest()

    def close(self, data: bytes, place: str) -> bytes:
        """`data` as it is stored at `place`: 12 random bytes, the ciphertext, 16 bytes that authenticate both."""
        if self._cipher is None:
            return data
        nonce = os.urandom(NONCE_BYTES)
        return nonce + bytes(self._cipher.encrypt(nonce, data, place.encode()))

    def open(self, data: bytes, place: str) -> bytes:
        """Opens what was closed. Raises StateError for another key, another place, or damage."""
        if self._cipher is None:
            return data
        from cryptography.exceptions import InvalidTag

        try:
            return bytes(self._cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], place.encode()))
        except (InvalidTag, ValueError) as error:
            raise StateError(f"{place} of the state cannot be decrypted: another key, or damaged") from error

    def mark(self, data: bytes) -> str:
        """The same for the same bytes; under a key it tells who has none of it nothing about them."""
        return _authenticate(self._mark, data).hexdigest() if self.keyed else sha256(data).hexdigest()


def _authenticate(key: bytes, data: bytes) -> Any:
    import hmac  # loads OpenSSL, as `cryptography` has by then

    return hmac.new(key, data, "sha256")
