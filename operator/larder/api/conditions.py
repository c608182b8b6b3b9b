"""Conditions of both kinds: the names of their types and reasons, and how a new reading replaces an old one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from larder.api.quantities import format_time, parse_time
from larder.errors import InvalidInputError

MAX_MESSAGE_LENGTH = 1024
"""What the CRDs let a message hold; longer ones are cut."""


class PoolCondition(StrEnum):
    """Types of a ModelPool's conditions. True is the good state of each."""

    READY = "Ready"
    """The pool answers requests: a pod serves and the gateway is ready."""
    ACCEPTED = "Accepted"
    """The spec could be read, and no object of somebody else has a name that the pool needs."""
    PODS_HEALTHY = "PodsHealthy"
    """Every Triton pod that should be there is ready, else the pod's own message."""
    GATEWAY_READY = "GatewayReady"
    AUTOSCALING = "Autoscaling"
    """Larder chooses the number of pods; False with FixedByUser while spec.pods.fixed is set."""
    OBJECTIVES_FEASIBLE = "ObjectivesFeasible"
    """The objectives can be met with the pods that the pool may have; else which model falls short, and the pods that
    it would take.
    """
    METRICS_AVAILABLE = "MetricsAvailable"
    """Prometheus has fresh counts of the pool's gateways; while it has not, the demand stream alone is used."""
    REPOSITORY_AVAILABLE = "RepositoryAvailable"
    RESIDENCY_PUBLISHED = "ResidencyPublished"
    """What pods serve could be written on them."""
    DRAINS_ACKNOWLEDGED = "DrainsAcknowledged"
    """Gateways acknowledge that routing stopped before a model is unloaded."""
    MODELS_MANAGED = "ModelsManaged"
    """Nothing is loaded that no Model declares; otherwise the message names it."""
    MEMORY_MEASURED = "MemoryMeasured"
    """What every pod really takes is read; where it is not, sizes are those declared or measured before."""


class ModelCondition(StrEnum):
    """Types of a Model's conditions. True is the good state of each."""

    READY = "Ready"
    """At least one copy answers requests now. A cold model that loads on request is not a failure."""
    ACCEPTED = "Accepted"
    """The spec could be read and no older Model has the same name in the repository."""
    POOL_FOUND = "PoolFound"
    FITS = "Fits"
    """Declared or measured memory fits a pod's budget."""
    LOADED = "Loaded"
    """The last load, or the load of the present revision, succeeded; else Triton's own reason."""
    MEMBERS_DECLARED = "MembersDeclared"
    """Every member of an ensemble is declared."""


class ConditionReason(StrEnum):
    """Reasons of conditions, for both kinds."""

    # What is as it should be.
    AS_EXPECTED = "AsExpected"
    LOADS_ON_REQUEST = "LoadsOnRequest"
    ADVISE_ONLY = "AdviseOnly"
    FIXED_BY_USER = "FixedByUser"
    AT_MAXIMUM = "AtMaximum"
    POD_RETIRES = "PodRetires"
    NO_PODS = "NoPods"
    NO_OBJECTIVES = "NoObjectives"

    # What a pool can lack.
    INVALID_SPEC = "InvalidSpec"
    NAME_TAKEN = "NameTaken"
    PODS_NOT_READY = "PodsNotReady"
    PODS_REFUSED = "PodsRefused"
    IMAGE_UNAVAILABLE = "ImageUnavailable"
    UNSCHEDULABLE = "Unschedulable"
    CONTAINER_FAILS = "ContainerFails"
    LEAKING = "Leaking"
    TOO_FEW_PODS_ALLOWED = "TooFewPodsAllowed"
    GATEWAY_NOT_READY = "GatewayNotReady"
    NOT_CONFIGURED = "NotConfigured"
    UNREACHABLE = "Unreachable"
    UNAUTHORIZED = "Unauthorized"
    TIMED_OUT = "TimedOut"
    BAD_ANSWER = "BadAnswer"
    NO_DATA = "NoData"
    STALE_DATA = "StaleData"
    NOT_MOUNTED = "NotMounted"
    NOT_YET_KNOWN = "NotYetKnown"
    TOO_LARGE = "TooLarge"
    NOT_ACKNOWLEDGED = "NotAcknowledged"
    UNMANAGED_MODELS = "UnmanagedModels"

    # What a model can lack.
    CONFLICT = "Conflict"
    POOL_NOT_FOUND = "PoolNotFound"
    OVER_BUDGET = "OverBudget"
    LOAD_FAILED = "LoadFailed"
    RELOAD_FAILED = "ReloadFailed"
    LOADING = "Loading"
    UNLOADING = "Unloading"
    MEMBERS_MISSING = "MembersMissing"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition. `status` None is Kubernetes' `Unknown`; `last_transition_seconds` is set by `merge`."""

    type: PoolCondition | ModelCondition | str
    status: bool | None
    reason: ConditionReason | str
    message: str = ""
    observed_generation: int = 0
    last_transition_seconds: float = 0.0


def merge(existing: Iterable[Condition], new: Iterable[Condition], now_seconds: float) -> tuple[Condition, ...]:
    """Return `new` in its order, each with the time at which its status last changed.

    The time is the existing one where the status is the same, else now. Existing types that are not in `new` go:
    the caller states all that it knows.
    """
    before = {condition.type: condition for condition in existing}

    def since(condition: Condition) -> float:
        old = before.get(condition.type)
        return old.last_transition_seconds if old and old.status is condition.status else now_seconds

    return tuple(replace(condition, last_transition_seconds=since(condition)) for condition in new)


def to_manifest(condition: Condition) -> dict[str, Any]:
    """Return the condition as the API server stores it."""
    return {
        "type": str(condition.type),
        "status": "Unknown" if condition.status is None else str(condition.status),
        "reason": str(condition.reason),
        "message": condition.message[:MAX_MESSAGE_LENGTH],
        "observedGeneration": condition.observed_generation,
        "lastTransitionTime": format_time(condition.last_transition_seconds),
    }


def from_status(status: Mapping[str, Any]) -> tuple[Condition, ...]:
    """Return the conditions in a resource's status; what can't be read is left out, as if it were never written."""
    listed = status.get("conditions")
    found = [_condition(item) for item in listed] if isinstance(listed, list) else []
    return tuple(condition for condition in found if condition is not None)


def _condition(item: object) -> Condition | None:
    if not isinstance(item, Mapping):
        return None
    try:
        return Condition(
            type=str(item["type"]),
            status={"True": True, "False": False}.get(item.get("status", "")),
            reason=str(item.get("reason", "")),
            message=str(item.get("message", "")),
            observed_generation=int(item.get("observedGeneration") or 0),
            last_transition_seconds=parse_time("lastTransitionTime", item.get("lastTransitionTime")),
        )
    except (KeyError, TypeError, ValueError, InvalidInputError):
        return None
