"""The operator's own metrics, served in Prometheus' format. Labels are pools, kinds of actions and reasons."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_POOL: Final = ("namespace", "pool")

ACTIONS: Final = Counter("larder_actions", "Actions begun.", (*_POOL, "action", "reason"))
ADVISED: Final = Counter(
    "larder_actions_advised", "Actions that mode Advise would have begun.", (*_POOL, "action", "reason")
)
DESIRED_PODS: Final = Gauge(
    "larder_desired_pods", "Pods that the planner wants, also where it may not have them.", _POOL
)
DROPPED: Final = Counter("larder_actions_dropped", "Planned actions that no longer held.", (*_POOL, "action"))
LOADS_FAILED: Final = Counter("larder_loads_failed", "Loads that Triton refused or did not answer.", _POOL)
DRAINS_UNACKNOWLEDGED: Final = Counter(
    "larder_drains_unacknowledged", "Drains that went on without a gateway's acknowledgement.", _POOL
)
LOAD_SECONDS: Final = Histogram(
    "larder_load_seconds",
    "Time of one load in Triton.",
    _POOL,
    buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 180, 600),
)
PLAN_SECONDS: Final = Histogram(
    "larder_plan_seconds",
    "Time of one round: gather, plan, apply.",
    _POOL,
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5),
)
DECISION_SECONDS: Final = Histogram(
    "larder_cold_decision_seconds",
    "From hearing of a cold request to the start of its load or of an eviction for it.",
    _POOL,
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5),
)
HINT_SECONDS: Final = Histogram(
    "larder_hint_seconds",
    "From Triton's answer to a load to the gateways' being told.",
    _POOL,
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 5),
)
PUBLICATION_SECONDS: Final = Histogram(
    "larder_publication_seconds",
    "Time to write a pod's residency annotation.",
    _POOL,
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 30),
)
PLACEMENTS: Final = Gauge("larder_placements", "Placements by state.", (*_POOL, "state"))
MEMORY_USED: Final = Gauge("larder_memory_used_bytes", "Bytes counted on all pods, unmanaged ones included.", _POOL)
MEMORY_BUDGET: Final = Gauge("larder_memory_budget_bytes", "Budget of all pods.", _POOL)
LEADING: Final = Gauge("larder_leading", "1 while this replica leads.")
