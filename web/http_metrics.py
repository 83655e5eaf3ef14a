"""What the web process counts about its own requests. Labels are routes, never addresses: no ids in them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class HttpMetrics:
    """Counters of one web process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "http_requests",
            "Requests answered.",
            ("method", "route", "status"),
            namespace="latchkey",
            registry=registry,
        )
        self._seconds = Histogram(
            "http_request_duration_seconds",
            "From a request to the start of its answer; a long poll's wait is in it.",
            ("method", "route"),
            namespace="latchkey",
            buckets=_SECONDS,
            registry=registry,
        )
        self.streams = Gauge(
            "http_event_streams",
            "Event streams that are open.",
            namespace="latchkey",
            registry=registry,
            multiprocess_mode="livesum",
        )

        self._counted: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def observe(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request. ``route`` is a rule such as ``/v1/logins/<id:login_id>``."""
        method = method if method in _METHODS else "other"
        counted = self._counted.get((method, route, status))
        if counted is None:  # to find a label's child takes longer than to count
            counted = (self._requests.labels(method, route, str(status)), self._seconds.labels(method, route))
            self._counted[method, route, status] = counted
        requests, durations = counted
        requests.inc()
        durations.observe(seconds)
