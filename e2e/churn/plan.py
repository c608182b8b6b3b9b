"""What a run is made of, as data: the models, the clients, and the phases one after the other."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MODELS: Final = 40
RESIDENT_PER_POD: Final = 6
PODS_MIN: Final = 2
PODS_MAX: Final = 3
"""Memory for 12 models on the two pods that are always there."""
CLIENTS: Final = 32
HOT_MODELS: Final = 8
"""Clients that are not free keep to this many of the most popular models."""
RESHUFFLED_EVERY: Final = 2_000
ZIPF_EXPONENT: Final = 1.0
DEADLINE_SECONDS: Final = 90.0
ANSWERED_PER_SECOND: Final = 30.0
"""What 2 cores are estimated to manage: it is loads that take the time."""


class Event(StrEnum):
    """What happens in a phase."""

    EVICTIONS = "eviction churn"
    SCALING = "pool scaled up and down"
    POD_DELETED = "Triton pod deleted"
    SERVER_KILLED = "tritonserver killed"
    STUB_KILLED = "model's stub killed"
    OPERATOR_KILLED = "operator killed"
    API_SERVER_AWAY = "API server away"
    PROMETHEUS_AWAY = "Prometheus away"
    GATEWAY_FROZEN = "gateway frozen"
    GATEWAYS_RESTARTED = "gateways restarted"
    OPERATOR_UPGRADED = "operator upgraded"


@dataclass(frozen=True, slots=True)
class Phase:
    """One event, `times` times, under at least so many requests.

    `free_clients` of the CLIENTS ask for all models, the others keep to the hot ones. All together send `per_second`;
    None: each sends as soon as it has its answer. `away_seconds`: how long what is away or frozen stays so.
    `event_seconds`: what one time is estimated to take.
    """

    event: Event
    requests: int
    event_seconds: float
    free_clients: int = 4
    per_second: float | None = 50.0
    times: int = 1
    away_seconds: float = 0.0

    @property
    def estimated_seconds(self) -> float:
        """How long the phase should take."""
        answered_seconds = self.requests / min(self.per_second or ANSWERED_PER_SECOND, ANSWERED_PER_SECOND)
        return max(answered_seconds, self.times * self.event_seconds)


@dataclass(frozen=True, slots=True)
class Plan:
    """A run, and how many loads and which share of cold requests it must at least have made to show anything."""

    name: str
    phases: tuple[Phase, ...]
    loads: int
    cold_share: float = 0.02
    seed: int = 1

    @property
    def requests(self) -> int:
        """The least number of requests."""
        return sum(phase.requests for phase in self.phases)

    @property
    def estimated_seconds(self) -> float:
        """How long the run should take."""
        return sum(phase.estimated_seconds for phase in self.phases)


SHORT: Final = Plan(
    "short",
    (
        Phase(Event.EVICTIONS, 1_500, 0, free_clients=16, per_second=None),
        Phase(Event.SCALING, 1_300, 35),
        Phase(Event.POD_DELETED, 800, 20),
        Phase(Event.SERVER_KILLED, 700, 12),
        Phase(Event.STUB_KILLED, 500, 5),
        Phase(Event.OPERATOR_KILLED, 900, 25),
        Phase(Event.API_SERVER_AWAY, 1_000, 30, away_seconds=15),
        Phase(Event.PROMETHEUS_AWAY, 600, 15, away_seconds=10),
        Phase(Event.GATEWAY_FROZEN, 700, 15, away_seconds=10),
        Phase(Event.GATEWAYS_RESTARTED, 900, 30),
        Phase(Event.OPERATOR_UPGRADED, 1_100, 45),
    ),
    loads=200,
)
FULL: Final = Plan(
    "full",
    (
        Phase(Event.EVICTIONS, 20_000, 0, free_clients=16, per_second=None),
        Phase(Event.SCALING, 9_000, 30, times=4),
        Phase(Event.POD_DELETED, 8_000, 20, times=6),
        Phase(Event.SERVER_KILLED, 8_000, 12, times=6),
        Phase(Event.STUB_KILLED, 8_000, 5, times=12),
        Phase(Event.OPERATOR_KILLED, 8_000, 20, times=6),
        Phase(Event.API_SERVER_AWAY, 8_000, 40, times=3, away_seconds=30),
        Phase(Event.PROMETHEUS_AWAY, 8_000, 65, times=2, away_seconds=60),
        Phase(Event.GATEWAY_FROZEN, 8_000, 20, times=6, away_seconds=15),
        Phase(Event.GATEWAYS_RESTARTED, 8_000, 25, times=4),
        Phase(Event.OPERATOR_UPGRADED, 8_000, 40, times=3),
    ),
    loads=2_000,
)
