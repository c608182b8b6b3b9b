"""What the planner decides: a tuple of actions and a desired number of pods, each with its reason."""

from dataclasses import dataclass, field
from enum import StrEnum

AGAIN_SECONDS = 0.1
"""At the least so long after one look for its turn a model is given the next."""


class Reason(StrEnum):
    """Why something was decided. The same constant in status, Event, log and metric."""

    COLD_REQUEST = "ColdRequest"
    DEMAND = "Demand"
    FORECAST = "Forecast"
    MIN_COPIES = "MinCopies"
    MEMORY_PRESSURE = "MemoryPressure"
    IDLE = "Idle"
    REBALANCE = "Rebalance"
    POOL_SCALE_UP = "PoolScaleUp"
    POOL_SCALE_DOWN = "PoolScaleDown"
    RECYCLE = "Recycle"
    DRIFT = "Drift"
    REVISION = "Revision"
    DELETED = "Deleted"
    FIXED_BY_USER = "FixedByUser"


@dataclass(frozen=True, slots=True)
class Load:
    """Load `model` on `pod`. `memory_bytes` is what it is counted with from now on."""

    model: str
    pod: str
    memory_bytes: int
    reason: Reason
    message: str
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Drain:
    """Stop routing to `model` on `pod`; the unload follows when gateways have seen it."""

    model: str
    pod: str
    reason: Reason
    message: str
    for_model: str | None = None


@dataclass(frozen=True, slots=True)
class Unload:
    """Unload `model` from `pod`; only from Draining."""

    model: str
    pod: str
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Scale:
    """Set the number of pods. `victim`: the pod that is to go by it."""

    pods: int
    reason: Reason
    message: str
    victim: str | None = None


@dataclass(frozen=True, slots=True)
class Retire:
    """Choose a pod to go: it takes no models any more, and its models move. `surge` pods come before it goes."""

    pod: str
    reason: Reason
    message: str
    surge: int = 0


@dataclass(frozen=True, slots=True)
class Dismiss:
    """Tell the cluster that this retiring pod goes first: not ready, and cheapest to delete.

    Once it knows, `to_pods` are asked for, and `back_to_pods` (None: no change) when the pod is on its way.
    """

    pod: str
    reason: Reason
    message: str
    to_pods: int
    back_to_pods: int | None = None


@dataclass(frozen=True, slots=True)
class Keep:
    """A retiring pod stays after all."""

    pod: str
    reason: Reason
    message: str


PodAction = Retire | Dismiss | Keep
Action = Load | Drain | Unload | Scale | PodAction


@dataclass(frozen=True, slots=True)
class Unplaced:
    """A model that should be resident and can't be, now or ever, and the sentence that says why.

    `again_seconds`: when it may be, if nothing happens before; None: when something does.
    """

    model: str
    message: str
    never: bool = False
    again_seconds: float | None = None

    def due_seconds(self, now_seconds: float) -> float | None:
        """When to look at it again, if nothing happens before."""
        return None if self.again_seconds is None else max(self.again_seconds, now_seconds + AGAIN_SECONDS)


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions in the order to apply them, the desired number of pods, and what could not be placed."""

    actions: tuple[Action, ...] = ()
    desired_pods: int = 0
    unplaced: tuple[Unplaced, ...] = field(default=())
