"""The stage of a run: Larder installed, a pool with memory for 12 of 40 models, Prometheus beside it."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from e2e import chart, models
from e2e.churn.plan import DEADLINE_SECONDS, MODELS, PODS_MAX, PODS_MIN, RESIDENT_PER_POD
from e2e.cluster.settings import Settings
from e2e.kube import Kube, Manifest
from e2e.target import Target
from e2e.tests.stage import POOL, Stage
from larder.api.names import (
    COMPONENT_LABEL,
    GATEWAY,
    GATEWAY_METRICS_PORT,
    METRICS_PORT,
    POOL_LABEL,
    TRITON,
)

NAMESPACE: Final = "larder-churn"
PROMETHEUS: Final = "prometheus"
MODEL_MIB: Final = 64
BASE_MIB: Final = 100
READY_SECONDS: Final = 180.0
PROMETHEUS_PORT: Final = 9090


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


def with_prometheus(target: Target) -> Target:
    """Return the cluster with a chart whose operator reads the run's Prometheus."""
    source = {"url": f"http://{PROMETHEUS}.{NAMESPACE}:{PROMETHEUS_PORT}", "selector": f'job="{GATEWAY}"'}
    values = {**json.loads(target.tools.values), "prometheus": source}
    return replace(target, tools=replace(target.tools, values=json.dumps(values)))


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
    for manifest in prometheus(scene.prometheus_image):
        scene.kube.apply(manifest)
    files = {path: text for name in names() for path, text in models.probe(name).items()}
    scene.stage.pool(files, **pool_settings())
    for name in names():
        scene.stage.model(name, memory=f"{MODEL_MIB}Mi")
    scene.kube.until("Deployment", PROMETHEUS, is_rolled_out, READY_SECONDS, "Prometheus is ready")


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


def prometheus(image: str) -> tuple[Manifest, ...]:
    """Return a Prometheus that scrapes the pool's gateways, its Triton pods and the operator."""
    pools = [
        {"job_name": component, "dns_sd_configs": [{"names": [f"{component}-metrics"], "type": "A", "port": port}]}
        for component, port in ((GATEWAY, GATEWAY_METRICS_PORT), (TRITON, METRICS_PORT))
    ]
    configuration = {"global": {"scrape_interval": "5s"}, "scrape_configs": pools}
    data = {"prometheus.yml": json.dumps(configuration)}
    return (
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": PROMETHEUS}, "data": data},
        *(_headless(component, port) for component, port in ((GATEWAY, GATEWAY_METRICS_PORT), (TRITON, METRICS_PORT))),
        _service(PROMETHEUS, {"app": PROMETHEUS}, PROMETHEUS_PORT),
        _prometheus_deployment(image),
    )


def _headless(component: str, port: int) -> Manifest:
    service = _service(f"{component}-metrics", {POOL_LABEL: POOL, COMPONENT_LABEL: component}, port)
    service["spec"] |= {"clusterIP": "None", "publishNotReadyAddresses": True}
    return service


def _service(name: str, selector: Mapping[str, str], port: int) -> Manifest:
    spec: dict[str, Any] = {"selector": dict(selector), "ports": [{"name": "metrics", "port": port}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def _prometheus_deployment(image: str) -> Manifest:
    container = {
        "name": PROMETHEUS,
        "image": image,
        "args": ["--config.file=/configuration/prometheus.yml", "--storage.tsdb.path=/prometheus"],
        "ports": [{"containerPort": PROMETHEUS_PORT}],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": PROMETHEUS_PORT}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "configuration", "mountPath": "/configuration"},
            {"name": "data", "mountPath": "/prometheus"},
        ],
    }
    volumes = [{"name": "configuration", "configMap": {"name": PROMETHEUS}}, {"name": "data", "emptyDir": {}}]
    grace = {"terminationGracePeriodSeconds": 5, "securityContext": {"fsGroup": 65532}}
    containers = {"containers": [container], "volumes": volumes}
    pod = {"metadata": {"labels": {"app": PROMETHEUS}}, "spec": {**containers, **grace}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": PROMETHEUS}}, "template": pod}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": PROMETHEUS}, "spec": spec}


@contextlib.contextmanager
def removed_afterwards(target: Target, *, keep: bool) -> Iterator[None]:
    """Remove the run's namespace after the block, however it ends, unless it is to be kept."""
    try:
        yield
    finally:
        if not keep:
            remove(target)
