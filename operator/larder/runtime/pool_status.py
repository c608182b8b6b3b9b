"""The status of ModelPools: a pure function of what is declared, booked and seen of pods."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from larder.api import names
from larder.api.conditions import Condition, ConditionReason, PoolCondition
from larder.api.status import ModelPoolStatus
from larder.core.objectives import Verdict
from larder.runtime.books import Books, PodBook
from larder.runtime.gather import Sizes, withheld_bytes
from larder.runtime.model_status import Facts, is_resident
from larder.runtime.past import NOT_CONFIGURED, Reading, explained
from larder.runtime.pods import PodView, Trouble
from larder.runtime.scaling_status import autoscaling

UNACKNOWLEDGED_SECONDS = 60.0
"""A gateway that did not acknowledge a drain is named for that long."""


STEPS = 100
"""What is measured beyond all that is counted is told in so many parts of a pod's budget."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the cluster shows of a pool: its pods, what the API server refused, names taken, mounts that fail."""

    triton: Mapping[str, PodView] = field(default_factory=dict)
    gateways: tuple[PodView, ...] = ()
    refused: str = ""
    taken: str = ""
    unmounted: Mapping[str, str] = field(default_factory=dict)
    desired_pods: int | None = None
    verdict: Verdict | None = None
    metrics: Reading = NOT_CONFIGURED


def pool_status(given: Facts, around: Surroundings, now_seconds: float) -> ModelPoolStatus:
    """The status of the pool."""
    pool, books = given.pool, given.books
    resident = sum(is_resident(given.placements.get(name, ())) for name in given.serving)
    return ModelPoolStatus(
        observed_generation=pool.meta.generation,
        pods=len(around.triton),
        ready_pods=sum(view.ready and not view.deleting for view in around.triton.values()),
        selector=f"{names.POOL_LABEL}={pool.meta.name},{names.COMPONENT_LABEL}={names.TRITON}",
        memory_used_bytes=sum(_used_bytes(given, book) for book in books.pods.values()),
        memory_budget_bytes=pool.memory.budget_bytes * len(books.pods),
        models_resident=resident,
        models_declared=len(given.serving),
        conditions=tuple(
            Condition(c.type, c.status, c.reason, c.message, pool.meta.generation)
            for c in _conditions(given, around, now_seconds)
        ),
        last_decision=books.last_decision,
        start_seconds=None if books.start_seconds is None else books.start_seconds.mean,
    )


def _used_bytes(given: Facts, book: PodBook) -> int:
    """What server, placements, reloads and unmanaged models take as counted, and what is measured beyond that.

    The latter breathes with every request: in steps it does not rewrite the status each time.
    """
    standing = Sizes(given.pool, given.serving, given.books).standings(book)
    step = max(1, given.pool.memory.budget_bytes // STEPS)
    beyond = math.ceil(withheld_bytes(book, standing) / step) * step
    counted = sum(one.counted_bytes for one in standing.values())
    return given.pool.memory.base_bytes + counted + book.reloading_bytes + sum(book.unmanaged.values()) + beyond


def invalid_status(generation: int, message: str) -> ModelPoolStatus:
    """The status of a pool whose spec can't be read."""
    accepted = Condition(PoolCondition.ACCEPTED, False, ConditionReason.INVALID_SPEC, message, generation)
    ready = Condition(PoolCondition.READY, False, ConditionReason.INVALID_SPEC, message, generation)
    return ModelPoolStatus(generation, 0, 0, "", 0, 0, 0, 0, (ready, accepted))


def _conditions(given: Facts, around: Surroundings, now_seconds: float) -> tuple[Condition, ...]:
    pool, books = given.pool, given.books
    pods, gateway = _pods_healthy(books, around), _gateway_ready(around)
    asleep = around.desired_pods == 0 and pool.pods.fixed is None
    return (
        _ready(around, pods, gateway, asleep),
        _accepted(around),
        pods,
        gateway,
        autoscaling(pool, books, around.desired_pods),
        _feasible(given, around.verdict),
        _metrics(around.metrics),
        _repository(books, around),
        _published(books),
        _acknowledged(books, now_seconds),
        _managed(books),
        _measured(books),
    )


def _good(kind: PoolCondition, message: str = "") -> Condition:
    return Condition(kind, True, ConditionReason.AS_EXPECTED, message)


def _accepted(around: Surroundings) -> Condition:
    if not around.taken:
        return _good(PoolCondition.ACCEPTED)
    return Condition(PoolCondition.ACCEPTED, False, ConditionReason.NAME_TAKEN, around.taken)


def _ready(around: Surroundings, pods: Condition, gateway: Condition, asleep: bool) -> Condition:
    if around.taken:
        return Condition(PoolCondition.READY, False, ConditionReason.NAME_TAKEN, around.taken)
    serves = any(view.ready and not view.deleting for view in around.triton.values())
    if (serves or asleep) and gateway.status:
        return _good(PoolCondition.READY, "" if serves else "the first request waits for a pod to start")
    missing = gateway if serves or asleep else pods
    reason = ConditionReason.PODS_NOT_READY if missing.status else missing.reason
    return Condition(PoolCondition.READY, False, reason, missing.message or "no Triton pod is ready")


def _pods_healthy(books: Books, around: Surroundings) -> Condition:
    if around.refused:
        return Condition(PoolCondition.PODS_HEALTHY, False, ConditionReason.PODS_REFUSED, around.refused)
    for name, text in sorted(around.unmounted.items()):
        if name in around.triton:
            return Condition(PoolCondition.PODS_HEALTHY, False, ConditionReason.NOT_MOUNTED, text)
    if trouble := _first_trouble(tuple(around.triton.values())):
        return Condition(PoolCondition.PODS_HEALTHY, False, trouble.reason, trouble.message)
    if leaking := next((book.leak for book in books.pods.values() if book.leak), ""):
        return Condition(PoolCondition.PODS_HEALTHY, False, ConditionReason.LEAKING, leaking)
    ready = sum(view.ready for view in around.triton.values())
    going = sum(book.retirement is not None and not book.view.ready for book in books.pods.values())
    wanted = around.desired_pods
    if wanted is not None and ready + going < wanted:
        text = f"{ready} of {wanted} Triton pods are ready"
        return Condition(PoolCondition.PODS_HEALTHY, False, ConditionReason.PODS_NOT_READY, text)
    return _good(PoolCondition.PODS_HEALTHY)


def _first_trouble(views: tuple[PodView, ...]) -> Trouble | None:
    found = [view.trouble for view in sorted(views, key=lambda v: v.name) if view.trouble and not view.deleting]
    return found[0] if found else None


def _gateway_ready(around: Surroundings) -> Condition:
    """What keeps a gateway pod from starting is said as well while others serve, as when a rollout is stuck."""
    unmounted = [around.unmounted[view.name] for view in around.gateways if view.name in around.unmounted]
    trouble = _first_trouble(around.gateways)
    text = min(unmounted) if unmounted else trouble.message if trouble else ""
    if any(view.ready and not view.deleting for view in around.gateways):
        return _good(PoolCondition.GATEWAY_READY, text)
    text = text or "no gateway pod is ready"
    return Condition(PoolCondition.GATEWAY_READY, False, ConditionReason.GATEWAY_NOT_READY, text)


def _feasible(given: Facts, verdict: Verdict | None) -> Condition:
    kind, pods = PoolCondition.OBJECTIVES_FEASIBLE, given.pool.pods
    if all(model.slo.latency_seconds is None for model in given.serving.values()):
        return Condition(kind, True, ConditionReason.NO_OBJECTIVES, "no Model has a latency objective")
    if verdict is None:
        return Condition(kind, None, ConditionReason.NOT_YET_KNOWN, "too little was asked yet to say")
    if verdict.is_feasible:
        return _good(kind)
    limit = f"spec.pods.max allows {pods.max}" if pods.fixed is None else f"spec.pods.fixed sets {pods.fixed}"
    takes = f"it would take {verdict.pods_needed}" if verdict.pods_needed else "more pods would not help"
    text = f"{verdict.model} falls short of its objective: {limit} pods, {takes}"
    return Condition(kind, False, ConditionReason.TOO_FEW_PODS_ALLOWED, text)


def _metrics(reading: Reading) -> Condition:
    if reading.reason is None:
        return _good(PoolCondition.METRICS_AVAILABLE)
    return Condition(PoolCondition.METRICS_AVAILABLE, False, reading.reason, explained(reading))


def _repository(books: Books, around: Surroundings) -> Condition:
    for name, text in sorted(around.unmounted.items()):
        if name in around.triton:
            return Condition(PoolCondition.REPOSITORY_AVAILABLE, False, ConditionReason.NOT_MOUNTED, text)
    if any(book.is_adopted for book in books.pods.values()):
        return _good(PoolCondition.REPOSITORY_AVAILABLE)
    text = "no Triton server has read it yet"
    return Condition(PoolCondition.REPOSITORY_AVAILABLE, None, ConditionReason.NOT_YET_KNOWN, text)


def _published(books: Books) -> Condition:
    if not books.unpublished:
        return _good(PoolCondition.RESIDENCY_PUBLISHED)
    name = min(books.unpublished)
    text = books.unpublished[name]
    reason = ConditionReason.TOO_LARGE if "fit on a pod" in text else ConditionReason.UNREACHABLE
    return Condition(PoolCondition.RESIDENCY_PUBLISHED, False, reason, text)


def _acknowledged(books: Books, now_seconds: float) -> Condition:
    late = sorted(n for n, at in books.unacknowledged.items() if now_seconds - at < UNACKNOWLEDGED_SECONDS)
    if not late:
        return _good(PoolCondition.DRAINS_ACKNOWLEDGED)
    text = f"{', '.join(late)} did not say in time that routing stopped; requests that raced are repeated"
    return Condition(PoolCondition.DRAINS_ACKNOWLEDGED, False, ConditionReason.NOT_ACKNOWLEDGED, text)


def _managed(books: Books) -> Condition:
    found = [f"{name} on {pod.view.name}" for pod in books.pods.values() for name in pod.unmanaged]
    if not found:
        return _good(PoolCondition.MODELS_MANAGED)
    text = f"loaded without a Model that declares it, and counted: {', '.join(sorted(found)[:20])}"
    return Condition(PoolCondition.MODELS_MANAGED, False, ConditionReason.UNMANAGED_MODELS, text)


def _measured(books: Books) -> Condition:
    """Whether the memory of every pod is read; where it is not, sizes are those declared or measured before."""
    lost = sorted(book.meter_error for book in books.pods.values() if book.meter_error and not book.view.deleting)
    if lost:
        text = f"{lost[0]}; sizes there are those declared or measured before"
        return Condition(PoolCondition.MEMORY_MEASURED, False, ConditionReason.UNREACHABLE, text)
    if any(book.is_metered for book in books.pods.values()):
        return _good(PoolCondition.MEMORY_MEASURED)
    text = "no pod was measured yet"
    return Condition(PoolCondition.MEMORY_MEASURED, None, ConditionReason.NOT_YET_KNOWN, text)
