"""The desired number of pods: the user's, the autoscaler's, or what there is, kept within the limits."""

import numpy as np

from larder.core.attainment import Fleet, Needs, busiest, predict
from larder.core.autoscaler import Limits, desired_pods
from larder.core.outlook import Catalog
from larder.core.plan import Reason, Scale
from larder.core.snapshot import Model, PodState, Snapshot


def size_pool(snapshot: Snapshot, now_seconds: float) -> tuple[int, tuple[Scale, ...]]:
    """The desired number of pods, and the change if there is one to make."""
    settings, live = snapshot.settings, sum(p.state is not PodState.TERMINATING for p in snapshot.pods.values())
    asked = live if snapshot.asked_pods is None else snapshot.asked_pods
    if settings.fixed_pods is not None:
        desired, reason, why = settings.fixed_pods, Reason.FIXED_BY_USER, f"fixed at {settings.fixed_pods} by the user"
    else:
        desired, why = _autoscale(snapshot, asked, now_seconds)
        reason = Reason.POOL_SCALE_UP if desired > asked else Reason.POOL_SCALE_DOWN
    if snapshot.asked_pods is None or snapshot.asked_pods == desired:
        return desired, ()
    return desired, (Scale(desired, reason, f"{why}; from {snapshot.asked_pods} to {desired} pods"),)


def _autoscale(snapshot: Snapshot, asked: int, now_seconds: float) -> tuple[int, str]:
    settings, appraisal, traffic = snapshot.settings, snapshot.appraisal, snapshot.traffic
    bounded = min(max(asked, settings.min_pods), settings.max_pods)
    if settings.target_attainment is None or appraisal is None or traffic is None or not snapshot.pods:
        return bounded, f"{asked} pods are outside {settings.min_pods} to {settings.max_pods}"
    capacity = max(p.capacity_bytes for p in snapshot.pods.values())
    catalog, needs = appraisal.catalog, needs_of(appraisal.catalog, snapshot)

    def predicted(pods: int) -> float:
        return predict(catalog, traffic, needs, Fleet(pods, capacity, settings.loads_at_once))

    limits = Limits(settings.min_pods, settings.max_pods, settings.target_attainment)
    since = float("inf") if snapshot.scaled_at_seconds is None else now_seconds - snapshot.scaled_at_seconds
    desired = desired_pods(predicted, asked, limits, since)
    text = f"predicted attainment {predicted(asked):.4f} with {asked} pods and {predicted(desired):.4f} with {desired}"
    return desired, f"{text}, {settings.target_attainment:.4f} is to hold"


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
