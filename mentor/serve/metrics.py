"""Prometheus: what was asked, answered and refused, and how long it took."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counts of one service; no label names a device."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("mentor_requests", "requests by status", ["status"], registry=self.registry)
        self.samples = Counter("mentor_samples", "samples answered", registry=self.registry)
        self.cached = Counter("mentor_samples_cached", "of them from the cache", registry=self.registry)
        self.seconds = Histogram(
            "mentor_request_seconds", "from the token to the answer", buckets=SECONDS, registry=self.registry
        )
        self.batch = Histogram(
            "mentor_batch_samples", "samples asked about together", buckets=BATCHES, registry=self.registry
        )
        self.in_work = Gauge(
            "mentor_requests_in_work", "requests that are read or answered now", registry=self.registry
        )

    def text(self) -> bytes:
        """In Prometheus' text format."""
        text: bytes = generate_latest(self.registry)
        return text
