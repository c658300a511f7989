"""How much a device may ask in a minute, and how much may be in work at once."""

import math
import time
from collections.abc import Callable

MINUTE = 60.0


class Rates:
    """A bucket of samples for each device, filled at `rate` a minute and as large as a minute's."""

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.clock = rate, clock
        self._left: dict[str, tuple[float, float]] = {}  # device -> samples, and when they were counted

    def wait(self, device: str, samples: int) -> int:
        """0 and the samples are taken, or the whole seconds after which they can be."""
        now = self.clock()
        left, since = self._left.get(device, (float(self.rate), now))
        left = min(float(self.rate), left + (now - since) * self.rate / MINUTE)
        wanted = min(samples, self.rate)  # a request above a minute's amount waits for a full bucket
        if left < wanted:
            self._left[device] = (left, now)
            return math.ceil((wanted - left) * MINUTE / self.rate)
        self._left[device] = (left - wanted, now)
        return 0
