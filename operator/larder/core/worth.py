"""What a model is worth: the waiting that keeping it resident spares, from rate or recency, load time and priority."""

from larder.core.snapshot import Model, Placement, Snapshot

ASSUMED_LOAD_SECONDS = 1.0
"""For models whose load was never measured: equal for all, so that rate and recency decide."""
RATE_AGE_SECONDS = 60.0
"""A rate older than this no longer counts; recency does."""
BUSIEST = 0.95
SHORTEST_GAP_SECONDS = 0.001

Worth = tuple[int, float]
"""Priority first, then seconds of waiting spared per second of residence."""


def load_seconds(model: Model | None) -> float:
    """The mean time of one load of the model."""
    if model is None or model.load_seconds is None:
        return ASSUMED_LOAD_SECONDS
    return model.load_seconds.mean


def request_rate(snapshot: Snapshot, name: str, last_used_seconds: float | None, now_seconds: float) -> float:
    """Requests per second: the larger of the fresh measured rate and one over the time since the last use."""
    rate = snapshot.rates.get(name)
    measured = rate.per_second if rate is not None and now_seconds - rate.at_seconds <= RATE_AGE_SECONDS else 0.0
    if last_used_seconds is None:
        return measured
    return max(measured, 1.0 / max(now_seconds - last_used_seconds, SHORTEST_GAP_SECONDS))


def queueing(rate_per_second: float, execution_seconds: float, copies: int) -> float:
    """Seconds waited per second in the queues of so many copies, as M/D/1 each with an even share (Kleinrock 1975).

    Above 95 % busy the queue would grow without end; it is then counted as at 95 % and in proportion to the excess.
    """
    if copies <= 0:
        return 0.0
    busy = rate_per_second * execution_seconds / copies
    capped = min(busy, BUSIEST)
    return rate_per_second * execution_seconds * capped / (2.0 * (1.0 - capped)) * max(1.0, busy / BUSIEST)


def copy_worth(snapshot: Snapshot, model: Model, copies: int, now_seconds: float) -> float:
    """Seconds of queueing per second that the last of `copies` copies spares; 0 for the first one."""
    rate = snapshot.rates.get(model.name)
    if copies < 2 or rate is None or model.execution_seconds is None:
        return 0.0
    if now_seconds - rate.at_seconds > RATE_AGE_SECONDS:
        return 0.0
    execution = model.execution_seconds.mean
    return queueing(rate.per_second, execution, copies - 1) - queueing(rate.per_second, execution, copies)


def resident_worth(snapshot: Snapshot, placement: Placement, copies: int, now_seconds: float) -> Worth:
    """What one of `copies` equal copies of a declared model is worth.

    By the appraisal where it knows the model; else by rate and recency, a copy never used counting from its load on.
    """
    model, cost = snapshot.models[placement.model], None
    spared = 0.0 if copies < 2 else copy_worth(snapshot, model, copies, now_seconds)
    if snapshot.appraisal is not None:
        value = snapshot.appraisal.keep_value(model.name)
        if value is not None:
            return (model.priority, value / copies + spared)
        cost = snapshot.appraisal.cost_of_miss(model.name)
    used_seconds = placement.last_used_seconds
    if used_seconds is None:
        used_seconds = placement.since_seconds
    rate = request_rate(snapshot, placement.model, used_seconds, now_seconds)
    return (model.priority, rate * (load_seconds(model) if cost is None else cost) / copies + spared)
