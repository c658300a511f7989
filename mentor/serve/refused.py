"""A request that is not answered, and why: a status, one line, and when to come again."""

import json

from starlette.types import Message

from mentor.serve.served import Served


class Refused(Exception):
    """`retry_after` in seconds. `named`: whose mentor this is, for a client of another."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        retry_after: int | None = None,
        authenticate: bool = False,
        named: Served | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.retry_after = status, detail, retry_after
        self.authenticate, self.named = authenticate, named

    def body(self) -> bytes:
        """JSON."""
        content = {"detail": self.detail}
        if self.named is not None:
            content |= {"bundle": self.named.bundle, "mentor": self.named.fingerprint}
        return json.dumps(content).encode()

    def messages(self) -> list[Message]:
        """The response, as ASGI sends it."""
        body = self.body()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if self.retry_after is not None:
            headers.append((b"retry-after", str(self.retry_after).encode()))
        if self.authenticate:
            headers.append((b"www-authenticate", b"Bearer"))
        return [
            {"type": "http.response.start", "status": self.status, "headers": headers},
            {"type": "http.response.body", "body": body},
        ]
