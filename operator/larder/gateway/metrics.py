"""The activator's own metrics. Label `model` takes declared names only, and goes when its Model goes."""

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
            ["model", "outcome"],
            registry=self.registry,
        )
        self.retries = Counter(
            prefix + "retries", "Attempts that met a stale route or a lost pod.", registry=self.registry
        )
        self.pushed = Counter(prefix + "configurations", "Endpoint changes sent to Envoy.", registry=self.registry)
        self.rejected = Counter(prefix + "rejections", "Endpoint changes that Envoy refused.", registry=self.registry)
        self.lag_seconds = Histogram(
            prefix + "acknowledge_seconds",
            "From sending endpoints to Envoy's acknowledgement.",
            buckets=(0.002, 0.005, 0.02, 0.1, 0.5, 2.0),
            registry=self.registry,
        )
        self.streams = Gauge(prefix + "demand_streams", "Connected operators.", registry=self.registry)
        self._labelled: set[tuple[str, str]] = set()
        self._waited: set[str] = set()
        self._totals: dict[str, int] = {}

    def cold(self, model: str, outcome: str) -> None:
        """Count a request that passed the activator; undeclared names share one empty label."""
        label = model if model in self._declared() else ""
        self._labelled.add((label, outcome))
        self.requests.labels(label, outcome).inc()
        if label:
            self._totals[label] = self._totals.get(label, 0) + 1

    def cold_totals(self) -> dict[str, int]:
        """Return requests that passed the activator so far, by declared model."""
        return dict(self._totals)

    def show_waiting(self, counts: dict[str, int]) -> None:
        """Set the gauge of waiting requests; models that wait no more leave it."""
        shown = {model: count for model, count in counts.items() if model in self._declared()}
        for model in self._waited - shown.keys():
            self.waiting.remove(model)
        for model, count in shown.items():
            self.waiting.labels(model).set(count)
        self._waited = set(shown)

    def forget_undeclared(self) -> None:
        """Remove the series of Models that are gone."""
        declared = self._declared()
        for model, outcome in list(self._labelled):
            if model and model not in declared:
                self.requests.remove(model, outcome)
                self._labelled.discard((model, outcome))
                self._totals.pop(model, None)

    def render(self) -> bytes:
        """Return the exposition text."""
        return generate_latest(self.registry)
