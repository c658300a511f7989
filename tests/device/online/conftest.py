"""A real service for devices that ask, and services that do what none should."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
from mentee_device import Bundle, Service

from mentee.checkpoint import MenteeCheckpoint
from tests.mentor.serve import service as real

collect_ignore_glob = [] if find_spec("litserve") else ["test_*.py"]  # without the extra `serve`

Bad = Callable[..., Service]


@pytest.fixture(scope="package")
def running(
    training_folder: Path, checkpoint: MenteeCheckpoint, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[real.Service]:
    folder = tmp_path_factory.mktemp("service")
    checkpoint.save(folder / "mentee.safetensors")
    with real.serving(folder, training_folder, folder, max_samples=8) as service:
        yield service


@pytest.fixture
def service(running: real.Service) -> Service:
    """As a device knows it."""
    return Service(f"https://localhost:{running.port}", running.token, str(running.authority), timeout=20)


@pytest.fixture
def bad() -> Iterator[Bad]:
    """`bad(answer)`: a service that answers every request with these bytes, and closes the connection."""
    listening: list[socket.socket] = []

    def make(answer: bytes, timeout: float = 5.0) -> Service:
        listener = socket.create_server(("127.0.0.1", 0))
        listening.append(listener)
        threading.Thread(target=answering, args=(listener, answer), daemon=True).start()
        return Service(f"http://127.0.0.1:{listener.getsockname()[1]}", "token", timeout=timeout)

    yield make
    for listener in listening:
        end(listener)


def end(listener: socket.socket) -> None:
    listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
    listener.close()


def answering(listener: socket.socket, answer: bytes) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, suppress(OSError):  # a device that has read enough
            whole_request(connection)
            connection.sendall(answer)


def whole_request(connection: socket.socket) -> bytes:
    content = b""
    while b"\r\n\r\n" not in content:
        content += connection.recv(65536)
    head, _, body = content.partition(b"\r\n\r\n")
    size = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    while len(body) < size:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@contextmanager
def hanging() -> Iterator[tuple[str, threading.Event, list[bytes]]]:
    """(address, whether a request came, the requests) of a service that takes requests and never answers."""
    came, requests = threading.Event(), list[bytes]()
    listener = socket.create_server(("127.0.0.1", 0))

    def hang() -> None:
        with ExitStack() as held:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                requests.append(whole_request(held.enter_context(connection)))
                came.set()

    threading.Thread(target=hang, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", came, requests
    end(listener)


def response(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.fixture
def now() -> list[float]:
    """The device's clock, for a test to set."""
    return [1_800_000_000.0]


@pytest.fixture
def bundle(training_folder: Path) -> Bundle:
    return Bundle.open(training_folder)
