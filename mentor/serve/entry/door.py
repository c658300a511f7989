"""The door: token, size, time, the bundle's terms and a device's rate are checked before LitServe or the mentor see a request."""

import asyncio
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mentor.serve.entry.form import read_form
from mentor.serve.entry.limits import Rates
from mentor.serve.entry.tokens import Tokens
from mentor.serve.metrics import Metrics
from mentor.serve.refused import Refused
from mentor.serve.served import Served
from mentor.serve.settings import ServeSettings
from mentor.serve.wire import read_samples

PATH = "/v1/answers"
PAYLOAD = "mentor.serve.samples"  # key of a request's scope
FORM = 1 << 16  # bytes of a body that are not the samples
SHORT = 64  # characters of what a client sent that an error repeats
BATCH, CACHED = "x-batch-samples", "x-cached-samples"  # headers of an answer


@dataclass(frozen=True)
class Rules:
    """The rules that the door goes by; they outlive a request."""

    served: Served
    settings: ServeSettings
    tokens: Tokens
    rates: Rates
    metrics: Metrics

    @property
    def most_bytes(self) -> int:
        size = 1 if self.served.dtype == "uint8" else 4
        return self.settings.max_samples * int(np.prod(self.served.shape)) * size + FORM


class Door:
    """ASGI middleware: requests to `PATH` pass one check after the other; all others go by."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self.app, self.rules = app, rules
        self._in_work = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        started, metrics = time.perf_counter(), self.rules.metrics
        try:
            messages = await self._answered(scope, receive)
        except Refused as refused:
            messages = refused.messages()
        metrics.requests.labels(messages[0]["status"]).inc()
        metrics.seconds.observe(time.perf_counter() - started)
        for message in messages:
            await send(message)

    async def _answered(self, scope: Scope, receive: Receive) -> list[Message]:
        headers = Headers(scope=scope)
        device = self._device(headers)
        if self._in_work >= self.rules.settings.queue:
            raise Refused(503, f"{self._in_work} requests are in work; ask again later", retry_after=1)
        self._count(1)
        try:
            samples = await self._samples(headers, receive)
            if wait := self.rules.rates.wait(device, len(samples)):
                most = self.rules.settings.rate
                raise Refused(429, f"above {most:,} samples a minute; ask again in {wait} s", retry_after=wait)
            task = asyncio.create_task(self._asked(scope, samples))
        except BaseException:
            self._count(-1)
            raise
        task.add_done_callback(lambda _: self._count(-1))
        done, _ = await asyncio.wait({task}, timeout=self.rules.settings.answer_seconds)
        if not done:  # it goes on, so that its answer is cached; unless its worker died
            asyncio.get_running_loop().call_later(2 * self.rules.settings.answer_seconds, task.cancel)
            raise Refused(503, "the mentor did not answer in time; ask again later", retry_after=5)
        messages = task.result()
        if messages[0]["status"] == 504:  # LitServe's, of a request that waited too long
            raise Refused(503, "the mentor is busy; ask again later", retry_after=5)
        if messages[0]["status"] >= 500:
            raise Refused(500, "the mentor failed on these samples; the service's log says why")
        self._note(messages[0], len(samples))
        return messages

    def _device(self, headers: Headers) -> str:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        device = self.rules.tokens.device_of(token.strip()) if scheme.lower() == "bearer" else None
        if device is None:
            raise Refused(
                401, "no token, or one that is not known; send `Authorization: Bearer <token>`", authenticate=True
            )
        return device

    async def _samples(self, headers: Headers, receive: Receive) -> NDArray[np.generic]:
        rules, served = self.rules, self.rules.served
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
            raise Refused(415, "expected multipart/form-data with the parts `samples` and `bundle`")
        stated = headers.get("content-length", "").lstrip("0")  # Python reads no number of more than 4,300 digits
        if stated.isdigit() and int(stated) > rules.most_bytes:
            raise Refused(413, f"the body has {int(stated):,} bytes, at most {rules.most_bytes:,} are taken")
        try:
            async with asyncio.timeout(rules.settings.body_seconds):
                body = await whole_body(receive, rules.most_bytes)
        except TimeoutError:
            raise Refused(408, f"the body did not come within {rules.settings.body_seconds:g} s") from None
        form = await read_form(headers, body)
        if form.bundle != served.bundle:
            raise Refused(
                409, f"this service answers for bundle {served.bundle}, not for {form.bundle[:SHORT]!r}", named=served
            )
        if form.mentor is not None and form.mentor != served.fingerprint:
            raise Refused(409, f"the mentor here is {served.fingerprint}, not {form.mentor[:SHORT]!r}", named=served)
        return read_samples(form.samples, served, rules.settings.max_samples)

    async def _asked(self, scope: Scope, samples: NDArray[np.generic]) -> list[Message]:
        """LitServe's answer, in one piece."""
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self.app({**scope, PAYLOAD: samples}, nothing_more, keep)
        return messages

    def _note(self, start: Message, samples: int) -> None:
        if start["status"] != 200:
            return
        headers, metrics = Headers(raw=start["headers"]), self.rules.metrics
        metrics.samples.inc(samples)
        metrics.cached.inc(int(headers.get(CACHED, "0")))
        metrics.batch.observe(int(headers.get(BATCH, "0")))

    def _count(self, change: int) -> None:
        self._in_work += change
        self.rules.metrics.in_work.set(self._in_work)


async def whole_body(receive: Receive, most: int) -> bytes:
    """Raises `Refused` as soon as it is too long, or where the client leaves."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "the body ended early")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise Refused(413, f"the body is above {most:,} bytes")
        if not message.get("more_body", False):
            return b"".join(parts)


async def nothing_more() -> Message:
    """The body was read."""
    return {"type": "http.request", "body": b"", "more_body": False}
