"""The stage of a run: Larder installed, a pool with memory for a third of the models in a pod, and the models."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from e2e import chart, models
from e2e.churn.plan import DEADLINE_SECONDS
from e2e.kube import Manifest
from e2e.replay.excerpt import Excerpt
from e2e.replay.plan import PODS_MAX, PODS_MIN, TARGET_ATTAINMENT, Plan
from e2e.target import Target
from e2e.tests.stage import POOL, Stage
from larder.api.quantities import format_seconds
from larder.core.simulation.attainment import standard_objectives
from larder.core.snapshot import Objective

NAMESPACE: Final = "larder-replay"
BASE_MIB: Final = 100
HIGH_MARK: Final = 0.95
"""The pool's default share of the budget up to which models are placed."""
FITTING_SHARE: Final = 1 / 3
"""Of the models' bytes, in one pod."""
READY_SECONDS: Final = 180.0
MIB: Final = 2**20


def objectives(excerpt: Excerpt) -> tuple[Objective, ...]:
    """As `make bench-fleet` fixes them, in whole milliseconds as a Model declares them."""
    return tuple(
        Objective(_whole(o.latency_seconds), TARGET_ATTAINMENT * 100.0, _whole(o.cold_start_seconds))
        for o in standard_objectives(excerpt.workload)
    )


def _whole(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000) / 1000


def with_compressed_time(target: Target, interval_seconds: float) -> Target:
    """Return the cluster with a chart whose operator takes a minute of the trace for a minute."""
    operator = json.loads(target.tools.values).get("operator", {})
    said = {"name": "LARDER_FORECAST_INTERVAL", "value": f"{interval_seconds:g}"}
    changed = {**operator, "extraEnv": [*operator.get("extraEnv", []), said]}
    return replace(target, tools=target.tools.with_values(operator=changed))


def prepare(stage: Stage, plan: Plan, excerpt: Excerpt) -> None:
    """Install Larder, apply pool and models, and wait until the pool is ready."""
    kube = stage.target.kube
    chart.install(stage.target.tools)
    chart.wait_ready(kube)
    kube.until("Namespace", NAMESPACE, lambda found: found is None, READY_SECONDS, "the last run's namespace is gone")
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    stage.pool(files(excerpt), **pool_settings(plan, excerpt))
    for manifest in model_specs(excerpt):
        stage.model(**manifest)
    stage.until_condition("Model", excerpt.workload.names[-1], "PoolFound", True, READY_SECONDS)


def files(excerpt: Excerpt) -> models.Files:
    """Return the repository: every model holds its memory, and takes its times by waiting."""
    found: dict[str, str] = {}
    rows = zip(excerpt.workload.names, excerpt.held_mib, *_times(excerpt), strict=True)
    for name, mib, load_seconds, execution_seconds in rows:
        given = {
            "memory_mib": mib,
            "ready_seconds": f"{load_seconds:.3f}",
            "execute_seconds": f"{execution_seconds:.3f}",
        }
        found |= models.probe(name, **given)
    return found


def _times(excerpt: Excerpt) -> tuple[Sequence[float], Sequence[float]]:
    return excerpt.workload.load_seconds, excerpt.workload.execution_seconds


def capacity_mib(excerpt: Excerpt) -> int:
    """What models may take of one pod."""
    largest = max(excerpt.workload.sizes_bytes)
    return round(max(largest, excerpt.workload.total_bytes * FITTING_SHARE) / MIB)


def pool_settings(plan: Plan, excerpt: Excerpt) -> Manifest:
    """Return what the pool's spec has."""
    budget_mib = round((BASE_MIB + capacity_mib(excerpt)) / HIGH_MARK) + 1
    resources = {"requests": {"cpu": "50m", "memory": f"{budget_mib}Mi"}, "limits": {"memory": f"{2 * budget_mib}Mi"}}
    return {
        "memory": {"budget": f"{budget_mib}Mi", "base": f"{BASE_MIB}Mi", "defaultModelMemory": "64Mi"},
        "pods": {
            "min": PODS_MIN,
            "max": PODS_MAX,
            "scaleDownAfter": format_seconds(plan.scale_down_seconds),
        },
        "drainSeconds": 5,
        "protectionSeconds": plan.protection_seconds,
        # Longer than the clients' deadline: who waits so long fails by his own clock.
        "gateway": {"replicas": 2, "longestHold": f"{round(DEADLINE_SECONDS) + 5}s"},
        "template": {"resources": resources},
    }


def model_specs(excerpt: Excerpt) -> list[Manifest]:
    """Return each Model's name and spec."""
    return [
        {"name": name, "memory": f"{size // MIB}Mi", "slo": _slo(objective)}
        for name, size, objective in zip(
            excerpt.workload.names, excerpt.workload.sizes_bytes, objectives(excerpt), strict=True
        )
    ]


def _slo(objective: Objective) -> Manifest:
    found: Manifest = {"percentile": objective.percentile}
    for key, seconds in (("latency", objective.latency_seconds), ("coldStart", objective.cold_start_seconds)):
        if seconds is not None:
            found[key] = format_seconds(seconds)
    return found


def remove(target: Target) -> None:
    """Remove the run's namespace; Larder is left as the chart has it."""
    chart.install(target.tools)
    target.kube.within(NAMESPACE).delete("ModelPool", POOL)
    target.kube.delete("Namespace", NAMESPACE)
