"""The activator's own metrics. Label `model` takes declared names only, and goes when nothing waits for its Model."""

from collections.abc import Callable, Collection
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_HELD_BUCKETS: Final = (0.01, 0.05, 0.2, 1.0, 5.0, 15.0, 60.0)


class Metrics:
    """Counters, gauges and one histogram on a registry of their own."""

    def __init__(self, declared: Callable[[], Collection[str]]) -> None:
        self._declared = declared
        self.registry = CollectorRegistry()
        prefix = "larder_gateway_"
        self.waiting = Gauge(prefix + "waiting", "Held cold requests.", ["model"], registry=self.registry)
        self.held_bytes = Gauge(prefix + "held_bytes", "Bytes of held requests.", registry=self.registry)
        self.held_seconds = Histogram(
            prefix + "held_seconds",
            "How long a request was held at a time.",
            buckets=_HELD_BUCKETS,
            registry=self.registry,
        )
        self.requests = Counter(
            prefix + "cold_requests",
            "Requests that passed the activator, by outcome.",
            ["outcome"],
            registry=self.registry,
        )
        self.retries = Counter(
            prefix + "retries", "Attempts that met a stale route or a lost pod.", registry=self.registry
        )
        self.lines = Counter(prefix + "board_lines", "Lines written to the routing board.", registry=self.registry)
        self.streams = Gauge(prefix + "demand_streams", "Connected operators.", registry=self.registry)
        self._waited: set[str] = set()
        self._streamed: dict[str, int] = {}

    def cold(self, outcome: str) -> None:
        """Count a request that passed the activator."""
        self.requests.labels(outcome).inc()

    def streamed(self, model: str, outcome: str) -> None:
        """Count a message of a stream: streams pass the activator, hot or cold, and Envoy counts none of them."""
        self.cold(outcome)
        if model in self._declared():
            self._streamed[model] = self._streamed.get(model, 0) + 1

    def take_streamed(self) -> dict[str, int]:
        """Return messages of streams since the last call, by declared model."""
        taken, self._streamed = self._streamed, {}
        return taken

    def show_waiting(self, counts: dict[str, int]) -> None:
        """Set the gauge of waiting requests; models that wait no more leave it."""
        shown = {model: count for model, count in counts.items() if model in self._declared()}
        for model in self._waited - shown.keys():
            self.waiting.remove(model)
        for model, count in shown.items():
            self.waiting.labels(model).set(count)
        self._waited = set(shown)

    def render(self) -> bytes:
        """Return the exposition text."""
        return generate_latest(self.registry)
