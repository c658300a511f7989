"""sha256 from CPython's own module: `hashlib` loads OpenSSL, 3.6 MB of resident memory on a phone."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import sha256
else:
    try:
        from _sha2 import sha256  # CPython 3.12
    except ImportError:
        try:
            from _sha256 import sha256  # until 3.11
        except ImportError:  # another Python, or one built without them
            from hashlib import sha256

__all__ = ["sha256"]
