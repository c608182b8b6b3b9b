"""Why the number of pods is what it is: the condition Autoscaling, and what a new leader remembers of it."""

from larder.api.conditions import Condition, ConditionReason, PoolCondition, from_status
from larder.api.resources import Manifest, ModelPool
from larder.core.snapshot import Measured
from larder.runtime.books import Books


def autoscaling(pool: ModelPool, books: Books, asked_pods: int | None) -> Condition:
    """Who chooses the number of pods, and why it was last changed."""
    pods, kind = pool.pods, PoolCondition.AUTOSCALING
    if pods.fixed is not None:
        text = f"spec.pods.fixed sets {pods.fixed} pods; unset it to let Larder choose"
        return Condition(kind, False, ConditionReason.FIXED_BY_USER, f"{text} between {pods.min} and {pods.max}")
    if pool.mode == "Advise":
        advice = "" if books.desired_pods is None else f": it would ask for {books.desired_pods} pods"
        return Condition(kind, False, ConditionReason.ADVISE_ONLY, f"in mode Advise nothing is done{advice}")
    if retiring := [p.view.name for p in books.pods.values() if p.retirement is not None and not p.view.deleting]:
        text = f"{retiring[0]} is to go once its models are elsewhere"
        return Condition(kind, True, ConditionReason.POD_RETIRES, text)
    if asked_pods == 0:
        text = "no pod runs, as nothing is asked for; the first request starts one and waits for it"
        return Condition(kind, True, ConditionReason.NO_PODS, text)
    if asked_pods == pods.max > pods.min:
        text = f"{pods.max} pods are the most that spec.pods.max allows"
        because = f": {books.last_scaling}" if books.last_scaling else ""
        return Condition(kind, True, ConditionReason.AT_MAXIMUM, f"{text}{because}")
    return Condition(kind, True, ConditionReason.AS_EXPECTED, books.last_scaling)


def remembered_scaling(status: Manifest) -> str:
    """The reason of the last change that a status tells; empty where it tells none."""
    told = next((c for c in from_status(status) if c.type == PoolCondition.AUTOSCALING), None)
    return told.message if told is not None and told.reason == ConditionReason.AS_EXPECTED else ""


def remembered_start(status: Manifest, now_seconds: float) -> Measured | None:
    """The start time of a pod that a status tells, as one sample."""
    seconds = status.get("podStartSeconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    return Measured(float(seconds), 0.0, 1, now_seconds)
