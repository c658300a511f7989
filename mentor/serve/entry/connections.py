"""A connection of the service: what uvicorn waits for without an end has one here.

uvicorn ends an idle connection. It does not end one whose head, or whose body after an early refusal, comes byte by byte, one
whose client never reads its answer, one that sends request after request without waiting for an answer, nor one whose trailers
after a chunked body have no end, which it keeps, all of them.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import is_ssl

HEAD = 1 << 16  # bytes of a request's line and headers, and of what lies between or after the bytes of its body
WAITING = 16  # requests of one connection that wait for the one before; uvicorn takes any number


class Connection(HttpToolsProtocol):
    """Ends after `seconds` of a request that is not there yet, or of an answer that is not read."""

    def __init__(self, *, seconds: float, **given: Any) -> None:
        super().__init__(**given)
        self._seconds = seconds
        self._asking: asyncio.TimerHandle | None = None
        self._answering: asyncio.TimerHandle | None = None
        self._head = 0
        self._open: list[Any] = []  # uvicorn's cycles, of requests that are not answered yet

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._asking = self._ending()

    def connection_lost(self, exc: Exception | None) -> None:
        self._asking = stopped(self._asking)
        self._answering = stopped(self._answering)
        self._left()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head += len(data)
        super().data_received(data)
        if self._head > HEAD:
            self._abort()
        if self.cycle is not None and not self.cycle.response_complete:
            self._asking = stopped(self._asking)
        elif self._asking is None and not self.transport.is_closing():
            self._asking = self._ending()

    def eof_received(self) -> bool:  # type: ignore[override]
        """True, and the connection stays open for its answers, where the client ended its own side after whole requests. Under
        TLS asyncio closes it all the same: a client there ends with both sides."""
        cycle = self.cycle
        if is_ssl(self.transport) or cycle is None or cycle.response_complete or cycle.more_body:
            return False
        cycle.keep_alive = False  # that of the last request, whose answer ends the connection
        return True

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._open = [cycle for cycle in (*self._open, self.cycle) if cycle and not cycle.response_complete]
        if len(self.pipeline) > WAITING:
            self._abort()

    def on_body(self, body: bytes) -> None:
        self._head = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head = 0
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._answering = self._answering or self._ending()

    def resume_writing(self) -> None:
        self._answering = stopped(self._answering)
        super().resume_writing()

    def _ending(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self._seconds, self._abort)

    def _abort(self) -> None:
        self._left()
        self.transport.abort()

    def _left(self) -> None:
        """Answers to nobody are dropped. uvicorn does so for the last request alone; under uvloop each of the others would be an
        error in the log."""
        for cycle in self._open:
            cycle.disconnected = True
            cycle.message_event.set()


def stopped(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """None, in its place."""
    if timer is not None:
        timer.cancel()
    return None
