"""LitServe's loop over requests, with batches that are counted in samples and a queue that is waited for, not polled."""

import os
import time
from queue import Empty
from typing import Any

from litserve.loops.loops import BatchedLoop
from litserve.utils import LitAPIStatus, LoopResponseType

WAKE = 1.0  # seconds after which a worker without work looks whether its service is still there


class SampleBatches(BatchedLoop):
    """Takes whole requests until a batch has `samples`, or `window` seconds after the first of them."""

    def __init__(self, samples: int, window: float) -> None:
        super().__init__()
        self.samples, self.window = samples, window
        self._next: Any = None  # a request that did not fit into the batch before

    def get_batch_requests(self, lit_api: Any, request_queue: Any, transport: Any) -> tuple[list[Any], list[Any]]:
        """([(queue, id, samples)], [(queue, id)] of those that nobody waits for any more)."""
        first = self._next if self._next is not None else self._taken(request_queue, WAKE)
        self._next = None
        batch, late, count, until = list[Any](), list[Any](), 0, time.monotonic() + self.window
        request = first
        while request is not None:
            consumer, uid, asked, samples = request
            if count and count + len(samples) > self.samples:
                self._next = request
                break
            self.put_response(transport, consumer, uid, (), LitAPIStatus.START, LoopResponseType.REGULAR)
            if time.monotonic() - asked > lit_api.request_timeout:
                late.append((consumer, uid))
            else:
                batch.append((consumer, uid, samples))
                count += len(samples)
            if count >= self.samples:
                break
            request = self._taken(request_queue, max(0.0, until - time.monotonic()))
        return batch, late

    def _taken(self, request_queue: Any, seconds: float) -> Any:
        try:
            return request_queue.get(timeout=seconds) if seconds else request_queue.get_nowait()
        except Empty:
            return None
        except (EOFError, OSError):  # the process that holds the queue is gone, and with it the service
            os._exit(1)
