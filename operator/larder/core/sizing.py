"""The number of pods: the user's, or what objectives, requests that wait and idleness ask for within the limits."""

from dataclasses import dataclass

import numpy as np

from larder.core.appraisal import Catalog
from larder.core.attainment import Fleet, Needs, busiest, predict
from larder.core.autoscaler import Limits, desired_pods, highest_step
from larder.core.bursts import Need, pressing_need
from larder.core.placing import Draft
from larder.core.plan import Reason
from larder.core.shortfall import corrected
from larder.core.snapshot import Model, Pod, PodState, Snapshot
from larder.core.units import counted

ASSUMED_START_SECONDS = 30.0
"""For pools whose pods were never seen to start."""
PATIENCE = 2.0
"""Pods that start are given so many times the measured time before more are asked for."""


@dataclass(frozen=True, slots=True)
class Size:
    """How many pods there are to be, and why. Not `sure`: nobody judged whether the present number is needed."""

    pods: int
    reason: Reason
    why: str
    sure: bool = True


def size_pool(draft: Draft, present: int) -> Size:
    """The number of pods to have, `present` being what is asked for now without replacements."""
    settings = draft.books.snapshot.settings
    if settings.fixed_pods is not None:
        return Size(settings.fixed_pods, Reason.FIXED_BY_USER, f"fixed at {settings.fixed_pods} by the user")
    least = min(settings.max_pods, max(settings.min_pods, _least_for_copies(draft)))
    bounded = min(max(present, least), settings.max_pods)
    if bounded != present:
        return _size(bounded, present, f"{present} pods are outside {least} to {settings.max_pods}")
    if bounded == 0:
        return _first_pod(draft)
    need = pressing_need(draft, present, start_seconds(draft.books.snapshot))
    # What was asked before says nothing for a pool that is left alone: it would bring back each pod that goes idle.
    judged = None if _is_idle(draft) else _by_prediction(draft, present, least)
    predicted, why = judged or (present, "nothing asks for another number")
    if need.pods > max(present, predicted):
        predicted, why = min(need.pods, highest_step(present, _limits(draft, least))), need.why
    if predicted > present:
        return _unless_pods_start(draft, present, Size(predicted, Reason.POOL_SCALE_UP, why))
    least_needed = max(least, need.pods, int(_idle_seconds(draft) is None))
    sure = judged is not None or least_needed >= present
    return _fewer(draft, Size(predicted, Reason.POOL_SCALE_DOWN, why, sure), (present, least), need)


def start_seconds(snapshot: Snapshot) -> float:
    """How long a pod takes to start, as measured, spread included."""
    measured = snapshot.start_seconds
    return ASSUMED_START_SECONDS if measured is None else measured.mean + measured.deviation


def _size(pods: int, present: int, why: str) -> Size:
    return Size(pods, Reason.POOL_SCALE_UP if pods > present else Reason.POOL_SCALE_DOWN, why)


def _least_for_copies(draft: Draft) -> int:
    """A model that is to be resident at all times needs a pod."""
    return int(bool(draft.pinned()))


def _first_pod(draft: Draft) -> Size:
    snapshot = draft.books.snapshot
    held = [w for n, w in snapshot.waiting.items() if w.count > 0 and n in snapshot.models]
    if not held:
        return Size(0, Reason.POOL_SCALE_DOWN, "nothing is asked for")
    asked, models = counted(sum(w.count for w in held), "request"), counted(len(held), "model")
    return Size(1, Reason.COLD_REQUEST, f"{asked} for {models} waiting, and no pod runs")


def _limits(draft: Draft, least: int) -> Limits:
    settings = draft.books.snapshot.settings
    target = 0.0 if settings.target_attainment is None else settings.target_attainment
    return Limits(least, settings.max_pods, target, settings.scale_down_after_seconds)


def _by_prediction(draft: Draft, present: int, least: int) -> tuple[int, str] | None:
    """What the prediction asks for; None: nothing is predicted now."""
    snapshot = draft.books.snapshot
    settings, appraisal, traffic = snapshot.settings, snapshot.appraisal, snapshot.traffic
    if settings.target_attainment is None or appraisal is None or traffic is None or not snapshot.pods:
        return None
    capacity = max(p.capacity_bytes for p in snapshot.pods.values())
    catalog, needs = appraisal.catalog, needs_of(appraisal.catalog, snapshot)

    def predicted(pods: int) -> float:
        plain = predict(catalog, traffic, needs, Fleet(pods, capacity, settings.loads_at_once))
        return corrected(plain, snapshot.shortfalls.get(pods, 1.0))

    desired = desired_pods(predicted, present, _limits(draft, least), min(_since_change(draft), _known_seconds(draft)))
    now, then = f"{predicted(present):.4f} with {counted(present, 'pod')}", f"{predicted(desired):.4f} with {desired}"
    return desired, f"predicted attainment {now} and {then}, {settings.target_attainment:.4f} is to hold"


def _since_change(draft: Draft) -> float:
    scaled = draft.books.snapshot.scaled_at_seconds
    return float("inf") if scaled is None else draft.now_seconds - scaled


def _known_seconds(draft: Draft) -> float:
    known_since = draft.books.snapshot.known_since_seconds
    return 0.0 if known_since is None else draft.now_seconds - known_since


def _unless_pods_start(draft: Draft, present: int, size: Size) -> Size:
    """Pods that start count: what they will do is awaited for as long as a start takes."""
    snapshot = draft.books.snapshot
    serving = sum(p.state is not PodState.STARTING and p.state is not PodState.TERMINATING for p in _pods(snapshot))
    if serving < present and _since_change(draft) < PATIENCE * start_seconds(snapshot):
        return Size(present, size.reason, f"{present - serving} pods start")
    return size


def _pods(snapshot: Snapshot) -> list[Pod]:
    return list(snapshot.pods.values())


def _fewer(draft: Draft, size: Size, bounds: tuple[int, int], need: Need) -> Size:
    """One pod fewer where the prediction, or that nobody asks for anything, allows it and nothing presses."""
    (present, least), settings = bounds, draft.books.snapshot.settings
    if present > least and need.pods < present:
        if size.pods < present:
            return size
        if _is_idle(draft) and _since_change(draft) >= settings.scale_down_after_seconds:
            why = f"nothing was asked for for {_idle_seconds(draft) or 0.0:.0f} s"
            return Size(present - 1, Reason.POOL_SCALE_DOWN, why)
    return Size(present, size.reason, size.why, size.sure)


def _is_idle(draft: Draft) -> bool:
    """Whether nothing was asked for for so long that a pod may go."""
    idle = _idle_seconds(draft)
    return idle is not None and idle >= draft.books.snapshot.settings.scale_down_after_seconds


def _idle_seconds(draft: Draft) -> float | None:
    since = draft.books.snapshot.idle_since_seconds
    return None if since is None or draft.books.snapshot.waiting else max(0.0, draft.now_seconds - since)


def needs_of(catalog: Catalog, snapshot: Snapshot) -> Needs:
    """Execution times and objectives in the order of the catalog."""
    models = [snapshot.models.get(name) for name in catalog.names]
    execution = np.array([_execution(m) for m in models])
    latency = np.array([np.inf if m is None or m.objective.latency_seconds is None else _latency(m) for m in models])
    cold = np.array([0.0 if m is None else m.objective.cold_start_seconds or 0.0 for m in models])
    percentile = np.array([99.0 if m is None else m.objective.percentile for m in models])
    return Needs(execution, latency, cold, busiest(execution, latency, percentile))


def _execution(model: Model | None) -> float:
    return 0.0 if model is None or model.execution_seconds is None else model.execution_seconds.mean


def _latency(model: Model) -> float:
    return np.inf if model.objective.latency_seconds is None else model.objective.latency_seconds
