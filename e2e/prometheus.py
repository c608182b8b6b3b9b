"""A Prometheus beside the one pool of a namespace, with a past where it is given one; and Larder told of it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from e2e.kube import Manifest
from e2e.target import Target
from e2e.tests.stage import POOL
from larder.api.names import (
    COMPONENT_LABEL,
    GATEWAY,
    GATEWAY_METRICS_PORT,
    METRICS_PORT,
    POOL_LABEL,
    TRITON,
)

NAME: Final = "prometheus"
PORT: Final = 9090
PAST: Final = "past.txt"
PAST_FILE: Final = f"/configuration/{PAST}"


def read_by_larder(target: Target, namespace: str) -> Target:
    """Return the cluster with a chart whose operator reads the Prometheus of a namespace."""
    source = {"url": f"http://{NAME}.{namespace}:{PORT}", "selector": f'job="{GATEWAY}"'}
    return replace(target, tools=target.tools.with_values(prometheus=source))


def manifests(image: str, past: str = "") -> tuple[Manifest, ...]:
    """Return a Prometheus that scrapes the pool's gateways and its Triton pods.

    It begins with this past: samples in OpenMetrics' text.
    """
    pools = [
        {"job_name": component, "dns_sd_configs": [{"names": [f"{component}-metrics"], "type": "A", "port": port}]}
        for component, port in ((GATEWAY, GATEWAY_METRICS_PORT), (TRITON, METRICS_PORT))
    ]
    configuration = {"global": {"scrape_interval": "5s"}, "scrape_configs": pools}
    data = {"prometheus.yml": json.dumps(configuration), PAST: past}
    return (
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}, "data": data},
        *(_headless(component, port) for component, port in ((GATEWAY, GATEWAY_METRICS_PORT), (TRITON, METRICS_PORT))),
        _service(NAME, {"app": NAME}, PORT),
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
    mounts = [
        {"name": "configuration", "mountPath": "/configuration"},
        {"name": "data", "mountPath": "/prometheus"},
    ]
    filled = f"[ -s {PAST_FILE} ] || exit 0; exec promtool tsdb create-blocks-from openmetrics {PAST_FILE} /prometheus"
    filler = {"name": "past", "image": image, "command": ["sh", "-c", filled], "volumeMounts": mounts}
    container = {
        "name": NAME,
        "image": image,
        "args": ["--config.file=/configuration/prometheus.yml", "--storage.tsdb.path=/prometheus"],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": PORT}, "periodSeconds": 1},
        "volumeMounts": mounts,
    }
    volumes = [{"name": "configuration", "configMap": {"name": NAME}}, {"name": "data", "emptyDir": {}}]
    grace = {"terminationGracePeriodSeconds": 5, "securityContext": {"fsGroup": 65532}}
    containers = {"initContainers": [filler], "containers": [container], "volumes": volumes}
    pod = {"metadata": {"labels": {"app": NAME}}, "spec": {**containers, **grace}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": NAME}}, "template": pod}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME}, "spec": spec}
