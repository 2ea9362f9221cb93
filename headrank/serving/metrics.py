"""Prometheus metrics of the service. They contain counts and times, no text."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128)
TOKENS = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)


class Metrics:
    """The metrics of one app.

    paths: the paths that get their own label; requests to others count as `other`.
    """

    def __init__(self, paths: tuple[str, ...]) -> None:
        self.paths = paths
        self.registry = r = CollectorRegistry()
        self.requests = Counter("headrank_requests", "Answered requests.", ["path", "status"], registry=r)
        self.seconds = Histogram(
            "headrank_request_seconds", "Seconds from a request's headers to its answer.", ["path"], registry=r,
            buckets=SECONDS,
        )  # fmt: skip
        self.waiting = Gauge("headrank_waiting_lists", "Lists that wait for the model.", registry=r)
        self.wait = Histogram(
            "headrank_wait_seconds", "Seconds that a list waited for the model.", registry=r, buckets=SECONDS
        )
        self.batch_lists = Histogram("headrank_batch_lists", "Lists ranked together.", registry=r, buckets=COUNTS)
        self.batch_tokens = Histogram(
            "headrank_batch_tokens", "Estimated tokens of lists ranked together.", registry=r, buckets=TOKENS
        )
        self.batch_seconds = Histogram("headrank_batch_seconds", "Seconds of a batch.", registry=r, buckets=SECONDS)
        self.documents = Counter("headrank_documents", "Ranked documents.", registry=r)
        self.truncated = Counter("headrank_truncated_documents", "Documents of which only a part was read.", registry=r)
        self.abandoned = Counter("headrank_abandoned_lists", "Lists that their clients left unranked.", registry=r)

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        label = path if path in self.paths else "other"
        self.requests.labels(label, str(status)).inc()
        self.seconds.labels(label).observe(seconds)

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)
