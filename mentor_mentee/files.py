"""Files that are there whole or not at all."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, and renames it to `path` at the end.

    If the block raises, `path` stays as it was and the temporary file is removed. Two processes may write the same path.
    """
    with scratch(path) as temporary:
        yield temporary
        os.replace(temporary, path)


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """Yields a name beside `path` that is this process's own; what is left there at the end is removed."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, content: Any) -> None:
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())


@contextmanager
def locked(path: Path, when_waiting: Callable[[], None]) -> Iterator[None]:
    """Holds the name `path` for this process alone; `when_waiting` is called once where another holds it.

    The system lets go of it when its holder dies. On a file system without locks nobody waits."""
    file = held(path, when_waiting)
    try:
        yield
    finally:
        if file is not None:
            path.unlink(missing_ok=True)
            file.close()


def held(path: Path, when_waiting: Callable[[], None]) -> IO[bytes] | None:
    """The open file whose lock is ours, None where there are no locks."""
    try:
        import fcntl
    except ImportError:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    waited = False
    while True:
        file = path.open("ab")
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not waited:
                    when_waiting()
                waited = True
                fcntl.flock(file, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
            file.close()
        except FileNotFoundError:  # its holder removed it in between
            file.close()
        except OSError:
            file.close()
            return None
        except BaseException:
            file.close()
            raise
