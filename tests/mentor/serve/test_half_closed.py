"""A client that ends its own side once it has asked, as `nc -N` does, is answered."""

import asyncio
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from threading import Thread
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from mentor.serve.entry.connections import Connection
from tests.waiting import wait_until

REQUEST = b"POST /%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody"


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with its path, later than the client's end comes."""
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(0.1)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_requests_that_came_whole_are_answered_then_the_connection_ends(loop: str) -> None:
    with listening(loop) as address:
        assert said(address, REQUEST % 1 + REQUEST % 2).count(b" 200 ") == 2
        assert said(address, REQUEST % 1 + b"POST /2").endswith(b"/1\r\n0\r\n\r\n")
        assert said(address, (REQUEST % 1)[:-1]) == b""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_client_that_leaves_before_its_answers_is_no_error_in_the_log(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    with listening(loop) as address:
        with socket.create_connection(address) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # its end is a reset
            client.sendall(REQUEST % 1 + REQUEST % 2)
            time.sleep(0.05)  # while the first is in work
        assert said(address, REQUEST % 3).count(b" 200 ") == 1  # later than those would have been
    assert [record.getMessage() for record in caplog.records if record.name.startswith("uvicorn")] == []


@contextmanager
def listening(loop: str) -> Iterator[tuple[str, int]]:
    pytest.importorskip(loop)
    http = partial(Connection, seconds=5)
    given: dict[str, Any] = {"loop": loop, "http": http, "log_level": "error", "log_config": None}
    server = uvicorn.Server(uvicorn.Config(slow, port=0, lifespan="off", **given))
    thread = Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    try:
        yield server.servers[0].sockets[0].getsockname()
    finally:
        server.should_exit = True
        thread.join()


def said(address: tuple[str, int], request: bytes) -> bytes:
    """All that comes until the server ends its side as well. Raises TimeoutError where it does not."""
    with socket.create_connection(address, 10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(partial(connection.recv, 4096), b""))
