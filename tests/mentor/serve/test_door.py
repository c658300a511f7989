"""The door alone, before a service that answers all that it lets through."""

import asyncio
from pathlib import Path

import numpy as np
from safetensors.numpy import save
from starlette.types import Message, Receive, Scope, Send

from mentor.serve.entry.door import PATH, Door, Rules
from mentor.serve.entry.limits import Rates
from mentor.serve.entry.tokens import Tokens, add_token
from mentor.serve.metrics import Metrics
from mentor.serve.served import Served
from mentor.serve.settings import ServeSettings
from tests.mentor.serve.service import BOUNDARY, form

SHAPE = (1, 8, 8)


async def yes(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def door(folder: Path) -> tuple[Door, str]:
    """One that knows a single device, and its token."""
    tokens = folder / "tokens"
    token = add_token(tokens, "phone")
    served = Served("b" * 64, "m" * 64, ("one", "two"), SHAPE, "uint8", {}, ())
    settings = ServeSettings(bundle=folder, mentor=folder, tokens=tokens)
    return Door(yes, Rules(served, settings, Tokens(tokens), Rates(settings.rate), Metrics())), token


def test_a_length_with_any_number_of_zeros_before_it_is_read(tmp_path: Path) -> None:
    before, token = door(tmp_path)
    body = form(save({"input": np.zeros((1, *SHAPE), np.uint8)}), {"bundle": "b" * 64})
    given = {
        "authorization": f"Bearer {token}",
        "content-type": f"multipart/form-data; boundary={BOUNDARY}",
        "content-length": "0" * 5000 + str(len(body)),
    }
    headers = [(name.encode(), value.encode()) for name, value in given.items()]
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(before({"type": "http", "method": "POST", "path": PATH, "headers": headers}, receive, send))
    assert sent[0]["status"] == 200
