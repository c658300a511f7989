"""LitServe's view of the mentor: requests of raw samples in, answers out. Axes: N samples of a batch."""

import os
import signal
import threading
from typing import Annotated, Any

import litserve
import numpy as np
import torch
from fastapi import Depends, Request, Response
from numpy.typing import NDArray

from mentor.serve.answering import Answer, Answering
from mentor.serve.entry.door import BATCH, CACHED, PATH, PAYLOAD
from mentor.serve.loop import SampleBatches
from mentor.serve.orphans import end_with
from mentor.serve.refused import Refused
from mentor.serve.served import Served
from mentor.serve.settings import ServeSettings
from mentor.serve.wire import MEDIA, write_answer

Samples = NDArray[np.generic]
FAILURES = 3  # of a mentor one after the other
SAID = 1.0  # seconds in which the devices of the last are told
One = tuple[Answer, int, int]  # the answer to one request, its cached samples, the samples of the batch


def taken(request: Request) -> Any:
    """The samples that the door let through."""
    return request.scope[PAYLOAD]


class MentorAPI(litserve.LitAPI):
    """Holds a mentor in each worker; only `served` and the settings travel there."""

    def __init__(self, served: Served, settings: ServeSettings, precision: str) -> None:
        loop = SampleBatches(settings.batch, settings.window_ms / 1000)
        super().__init__(
            max_batch_size=max(2, settings.batch), batch_timeout=settings.window_ms / 1000, api_path=PATH, loop=loop
        )
        self.served, self.settings, self.precision = served, settings, precision

    def setup(self, device: str) -> None:
        end_with(os.getppid())
        for number in (signal.SIGINT, signal.SIGTERM):  # a terminal and systemd send them to the whole group
            signal.signal(number, signal.SIG_IGN)
        self.failures = 0
        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        folder = None if self.settings.cache_dir is None else self.settings.cache_dir / "answers"
        mentor = self.served.restored(self.precision).to(torch.device(device))
        self.answering = Answering(self.served, mentor, folder, self.settings.cache_mb * 1e6)

    def decode_request(self, request: Annotated[Any, Depends(taken)]) -> Samples:
        return request  # type: ignore[no-any-return]

    def batch(self, inputs: list[Samples]) -> list[Samples]:
        return inputs

    def predict(self, x: list[Samples]) -> list[One]:
        """The answers of each request, asked about together."""
        try:
            found = self.answering.answer(np.concatenate(x))
        except Exception:
            self._failed()
            raise
        self.failures = 0
        ends = np.cumsum([len(samples) for samples in x])
        answers, start = [], 0
        for end in ends.tolist():
            part = {name: value[start:end] for name, value in found.answer.items()}
            answers.append((part, sum(found.known[start:end]), int(ends[-1])))
            start = end
        return answers

    def _failed(self) -> None:
        """Ends the worker, for a new one, where its mentor only fails: an accelerator that broke stays broken in its process."""
        self.failures += 1
        if self.failures == FAILURES:
            threading.Timer(SAID, os._exit, (1,)).start()

    def unbatch(self, output: list[One]) -> list[One]:
        return output

    def encode_response(self, output: One) -> Response:
        answer, cached, batch = output
        if not all(np.isfinite(value).all() for value in answer.values()):
            refused = Refused(
                422, "the mentor's answer to these samples is not finite, or too large for half precision"
            )
            return Response(refused.body(), refused.status, media_type="application/json")
        body = write_answer(answer, self.served, self.precision)
        return Response(body, media_type=MEDIA, headers={BATCH: str(batch), CACHED: str(cached)})
