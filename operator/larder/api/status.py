"""Status of both kinds: what the operator knows, and the manifests it becomes.

Each builder returns the whole of `.status` and leaves out what is not known, so that it suits server-side apply
or a replacement of the status; a merge patch would keep old fields. Nothing in it moves with every request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from larder.api.conditions import MAX_MESSAGE_LENGTH, Condition, to_manifest
from larder.api.names import triton_name
from larder.api.quantities import format_seconds, format_time
from larder.api.resources import SLO
from larder.core.snapshot import PlacementState
from larder.core.units import format_bytes

MAX_PODS_NAMED = 3
"""How many pods the printer column names before it counts the rest."""


class Phase(StrEnum):
    """A Model's state in one word."""

    PENDING = "Pending"
    """Can't be served yet: its pool is missing, or it does not fit."""
    COLD = "Cold"
    """Resident nowhere; the first request loads it."""
    LOADING = "Loading"
    READY = "Ready"
    UNLOADING = "Unloading"
    FAILED = "Failed"
    CONFLICT = "Conflict"
    """An older Model has the same name in the repository."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The last thing decided: `action` is Load, Drain, Unload or Scale; `reason` one of the project's constants."""

    at_seconds: float
    action: str
    reason: str
    message: str
    model: str | None = None
    pod: str | None = None


@dataclass(frozen=True, slots=True)
class PlacementStatus:
    """One copy: where, in which state, since when (Unix seconds), with which revision."""

    pod: str
    state: PlacementState
    since_seconds: float
    revision: str = ""


MEASURED_TIMES = ("loadSeconds", "executionSeconds", "podStartSeconds")
HARDLY_SHARE = 0.25
"""A measured time that moved by no more than this share of what the status tells is not told anew."""


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """What is known of one Model. None: not measured."""

    observed_generation: int
    phase: Phase
    pool: str
    slo: SLO = field(default_factory=SLO)
    placements: tuple[PlacementStatus, ...] = ()
    memory_bytes: int | None = None
    load_seconds: float | None = None
    execution_seconds: float | None = None
    conditions: tuple[Condition, ...] = ()
    last_decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class ModelPoolStatus:
    """What is known of one pool. `selector` is the label selector of its Triton pods, for `/scale`."""

    observed_generation: int
    pods: int
    ready_pods: int
    selector: str
    memory_used_bytes: int
    memory_budget_bytes: int
    models_resident: int
    models_declared: int
    conditions: tuple[Condition, ...] = ()
    last_decision: Decision | None = None
    start_seconds: float | None = None


def derive_phase(
    states: Sequence[PlacementState], *, conflict: bool = False, blocked: bool = False, failed: bool = False
) -> Phase:
    """Return the phase of a model with copies in these states.

    `blocked`: it can't be placed at all (no such pool, does not fit); `failed`: its last load failed. A copy that
    serves counts more than either: a failed reload leaves a model Ready, and its condition tells.
    """
    if conflict:
        return Phase.CONFLICT
    if PlacementState.READY in states:
        return Phase.READY
    if PlacementState.LOADING in states:
        return Phase.LOADING
    if failed:
        return Phase.FAILED
    if states:
        return Phase.UNLOADING
    return Phase.PENDING if blocked else Phase.COLD


def model_status(status: ModelStatus) -> dict[str, Any]:
    """Return a Model's `.status`."""
    ready = sum(placement.state is PlacementState.READY for placement in status.placements)
    return _present(
        {
            "observedGeneration": status.observed_generation,
            "phase": str(status.phase),
            "copies": ready,
            "pods": _pods_at_a_glance(status),
            "placements": [_placement(placement) for placement in sorted(status.placements, key=lambda p: p.pod)],
            "memory": None if status.memory_bytes is None else format_bytes(status.memory_bytes),
            "slo": _slo_at_a_glance(status.slo),
            "loadSeconds": _steady(status.load_seconds),
            "executionSeconds": _steady(status.execution_seconds),
            "conditions": [to_manifest(condition) for condition in status.conditions],
            "lastDecision": _decision(status.last_decision),
        }
    )


def pool_status(status: ModelPoolStatus) -> dict[str, Any]:
    """Return a ModelPool's `.status`."""
    used, budget = format_bytes(status.memory_used_bytes), format_bytes(status.memory_budget_bytes)
    return _present(
        {
            "observedGeneration": status.observed_generation,
            "pods": status.pods,
            "readyPods": status.ready_pods,
            "selector": status.selector,
            "memoryUsed": used,
            "memoryBudget": budget,
            "modelsResident": status.models_resident,
            "modelsDeclared": status.models_declared,
            "podStartSeconds": _steady(status.start_seconds),
            "summary": {
                "pods": f"{status.ready_pods}/{status.pods}",
                "memory": f"{used}/{budget}",
                "models": f"{status.models_resident}/{status.models_declared}",
            },
            "conditions": [to_manifest(condition) for condition in status.conditions],
            "lastDecision": _decision(status.last_decision),
        }
    )


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _placement(placement: PlacementStatus) -> dict[str, Any]:
    since = format_time(placement.since_seconds)
    return {"pod": placement.pod, "state": str(placement.state), "since": since, "revision": placement.revision}


def _decision(decision: Decision | None) -> dict[str, Any] | None:
    if decision is None:
        return None
    return _present(
        {
            "time": format_time(decision.at_seconds),
            "action": decision.action,
            "reason": decision.reason,
            "model": decision.model,
            "pod": decision.pod,
            "message": decision.message[:MAX_MESSAGE_LENGTH],
        }
    )


def _pods_at_a_glance(status: ModelStatus) -> str | None:
    """Names of the pods without the part that all pods of the pool share."""
    names = sorted(placement.pod.removeprefix(f"{triton_name(status.pool)}-") for placement in status.placements)
    rest = len(names) - MAX_PODS_NAMED
    return ",".join(names[:MAX_PODS_NAMED]) + (f",+{rest}" if rest > 0 else "") or None


def _slo_at_a_glance(slo: SLO) -> str | None:
    """For instance `50ms p99`, `50ms p99.9, cold 2s`; None without an objective."""
    parts = []
    if slo.latency_seconds is not None:
        parts.append(f"{format_seconds(slo.latency_seconds)} p{slo.percentile:g}")
    if slo.cold_start_seconds is not None:
        parts.append(f"cold {format_seconds(slo.cold_start_seconds)}")
    return ", ".join(parts) or None


def steadied(new: dict[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the status with those measured times kept as they were told that have hardly moved.

    Of thousands of models in use each would be written again and again for nothing that anybody decides by.
    """
    kept = {name: told[name] for name in MEASURED_TIMES if _hardly_moved(new.get(name), told.get(name))}
    return {**new, **kept}


def _hardly_moved(new: float | None, told: float | None) -> bool:
    return new is not None and told is not None and abs(new - told) <= HARDLY_SHARE * told


def _steady(seconds: float | None) -> float | None:
    """Two significant digits: enough to read, and too few to rewrite the status at every measurement."""
    return None if seconds is None else float(f"{seconds:.2g}")
