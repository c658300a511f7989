"""A token for each device: the file holds their sha256 alone, a line a device, and is read again when it changes."""

import hashlib
import hmac
import re
import secrets
from pathlib import Path

from mentor_mentee.errors import UserError
from mentor_mentee.files import write_bytes

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LINE = re.compile(rf"({NAME.pattern}) ([0-9a-f]{{64}})")
HEAD = "# name, sha256 of the token; remove a line to lock a device out\n"


class Tokens:
    """Who may ask, by `path`."""

    def __init__(self, path: Path) -> None:
        """Raises `UserError` for a file that is missing or holds another line."""
        self.path = path
        self.known = read_tokens(path)
        self._stamp = stamp(path)

    def device_of(self, token: str) -> str | None:
        """The name of the device whose token it is. All are compared, each in constant time."""
        self._refresh()
        digest, found = digest_of(token), None
        for name, known in self.known.items():
            if hmac.compare_digest(known, digest):
                found = name
        return found

    def _refresh(self) -> None:
        """A file that is half written or gone leaves what was known."""
        try:
            if (now := stamp(self.path)) != self._stamp:
                self.known, self._stamp = read_tokens(self.path), now
        except (OSError, UserError):
            return


def stamp(path: Path) -> tuple[int, int, int]:
    about = path.stat()
    return about.st_mtime_ns, about.st_size, about.st_ino


def digest_of(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def read_tokens(path: Path) -> dict[str, str]:
    """Device -> sha256 of its token. Raises `UserError`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"tokens={path} cannot be read ({error})") from None
    known: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = LINE.fullmatch(line.strip())
        if match is None or match[1] in known or match[2] in known.values():
            raise UserError(
                f"tokens={path}, line {number}: expected a device's name and the sha256 of its token, of which no other line "
                "has either; make one: python -m mentor.serve token name=phone tokens=…"
            )
        known[match[1]] = match[2]
    return known


def add_token(path: Path, name: str) -> str:
    """A new token for a device, of which the file gets the sha256. Raises `UserError` for a name that is taken or none."""
    if not NAME.fullmatch(name):
        raise UserError(f"name={name}; expected 1 to 64 letters, digits, dots, dashes and underscores")
    known = read_tokens(path) if path.exists() else {}
    if name in known:
        raise UserError(f"{path} has a token for {name}; remove its line first, and the older one is no longer taken")
    token = secrets.token_urlsafe(32)
    text = path.read_text(encoding="utf-8") if path.exists() else HEAD
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, f"{text.rstrip()}\n{name} {digest_of(token)}\n".encode())
    return token
