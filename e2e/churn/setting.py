"""The stage of a run: Larder installed, a pool with memory for 12 of 40 models, Prometheus beside it."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from e2e import chart, models, prometheus
from e2e.churn.plan import DEADLINE_SECONDS, MODELS, PODS_MAX, PODS_MIN, RESIDENT_PER_POD
from e2e.cluster.settings import Settings
from e2e.kube import Kube, Manifest
from e2e.target import Target
from e2e.tests.stage import POOL, Stage

NAMESPACE: Final = "larder-churn"
MODEL_MIB: Final = 64
BASE_MIB: Final = 100
READY_SECONDS: Final = 180.0


@dataclass(frozen=True, slots=True)
class Scene:
    """What events happen to: the pool's namespace, and the machine's cluster below it."""

    stage: Stage
    settings: Settings
    prometheus_image: str

    @property
    def kube(self) -> Kube:
        """The pool's namespace."""
        return self.stage.kube


def names() -> list[str]:
    """Return the names of the models."""
    return [f"model-{number:02}" for number in range(MODELS)]


def prepare(scene: Scene) -> None:
    """Install Larder, apply pool, models and Prometheus, and wait until the pool is ready."""
    target = scene.stage.target
    chart.install(target.tools)
    chart.wait_ready(target.kube)
    target.kube.until("Namespace", NAMESPACE, _is_usable, READY_SECONDS, "the last run's namespace is gone")
    target.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    for manifest in prometheus.manifests(scene.prometheus_image):
        scene.kube.apply(manifest)
    files = {path: text for name in names() for path, text in models.probe(name).items()}
    scene.stage.pool(files, **pool_settings())
    for name in names():
        scene.stage.model(name, memory=f"{MODEL_MIB}Mi")
    scene.kube.until("Deployment", prometheus.NAME, is_rolled_out, READY_SECONDS, "Prometheus is ready")


def pool_settings() -> Manifest:
    """Return what the pool's spec has."""
    budget_mib = BASE_MIB + RESIDENT_PER_POD * MODEL_MIB
    resources = {"requests": {"cpu": "50m", "memory": f"{budget_mib}Mi"}, "limits": {"memory": f"{3 * budget_mib}Mi"}}
    return {
        "memory": {"budget": f"{budget_mib}Mi", "base": f"{BASE_MIB}Mi", "defaultModelMemory": f"{MODEL_MIB}Mi"},
        "pods": {"min": PODS_MIN, "max": PODS_MAX},
        "drainSeconds": 5,
        "protectionSeconds": 1,
        # Longer than the clients' deadline: who waits so long fails by his own clock.
        "gateway": {"replicas": 2, "longestHold": f"{round(DEADLINE_SECONDS) + 5}s"},
        "template": {"resources": resources},
    }


def _is_usable(namespace: Manifest | None) -> bool:
    return namespace is None or "deletionTimestamp" not in namespace["metadata"]


def is_rolled_out(deployment: Manifest | None) -> bool:
    """Return whether the Deployment is there and runs its newest pods and no other."""
    return deployment is not None and chart.is_rolled_out(deployment)


def remove(target: Target) -> None:
    """Remove the run's namespace; Larder is left as the chart has it, without the name an upgrade gave its image."""
    chart.install(target.tools)
    target.kube.within(NAMESPACE).delete("ModelPool", POOL)
    target.kube.delete("Namespace", NAMESPACE)


@contextlib.contextmanager
def removed_afterwards(target: Target, *, keep: bool) -> Iterator[None]:
    """Remove the run's namespace after the block, however it ends, unless it is to be kept."""
    try:
        yield
    finally:
        if not keep:
            remove(target)
