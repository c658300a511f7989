"""A client that ends its own side once it has asked, as `nc -N` does, is answered."""

import asyncio
import socket
from functools import partial
from threading import Thread

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from mentor.serve.entry.connections import Connection
from tests.waiting import wait_until

REQUEST = b"POST /%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody"


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with its path, later than the client's end comes."""
    while (await receive())["more_body"]:
        pass
    await asyncio.sleep(0.1)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_requests_that_came_whole_are_answered_then_the_connection_ends(loop: str) -> None:
    pytest.importorskip(loop)
    http = partial(Connection, seconds=5)
    server = uvicorn.Server(uvicorn.Config(slow, port=0, lifespan="off", log_level="error", loop=loop, http=http))  # type: ignore[arg-type]
    thread = Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    address = server.servers[0].sockets[0].getsockname()
    try:
        assert said(address, REQUEST % 1 + REQUEST % 2).count(b" 200 ") == 2
        assert said(address, REQUEST % 1 + b"POST /2").endswith(b"/1\r\n0\r\n\r\n")
        assert said(address, (REQUEST % 1)[:-1]) == b""
    finally:
        server.should_exit = True
        thread.join()


def said(address: tuple[str, int], request: bytes) -> bytes:
    """All that comes until the server ends its side as well. Raises TimeoutError where it does not."""
    with socket.create_connection(address, 10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(partial(connection.recv, 4096), b""))
