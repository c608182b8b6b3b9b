"""The gateway of a pool: Envoy and the activator in one pod, the Service in front, and the little it may read.

Pods satisfy the restricted Pod Security Standard. What the containers are told is written down in
`larder.gateway.settings`.
"""

import math
from typing import Any, Final

from larder.api import names
from larder.api.quantities import parse_bytes
from larder.api.resources import Manifest, ModelPool
from larder.runtime.children.common import (
    CONTAINER_SECURITY,
    KEYS_DIGEST_ANNOTATION,
    Keys,
    field_variable,
    labels,
    object_meta,
    pod_security,
    scraped,
    secret_variable,
    selector,
)
from larder.runtime.settings import Platform

USER: Final = 65532
RUN_DIR: Final = "/run/larder"
ENVOY_DIR: Final = "/etc/envoy"
TLS_DIR: Final = "/etc/larder/tls"
TERMINATION_MARGIN_SECONDS: Final = 30
_READY: Final[dict[str, Any]] = {
    "httpGet": {"path": "/readyz", "port": names.ACTIVATOR_PROBE_PORT},
    "periodSeconds": 1,
    "timeoutSeconds": 2,
}


def gateway_deployment(pool: ModelPool, platform: Platform, keys: Keys) -> Manifest:
    """Return the gateway's Deployment; a new pod is ready before an old one goes."""
    name = names.gateway_name(pool.meta.name)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": object_meta(pool, name, names.GATEWAY),
        "spec": {
            "replicas": pool.gateway.replicas,
            "selector": {"matchLabels": selector(pool, names.GATEWAY)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "revisionHistoryLimit": 3,
            "template": {
                "metadata": {
                    "labels": labels(pool, names.GATEWAY),
                    "annotations": {KEYS_DIGEST_ANNOTATION: keys.digest, **scraped(names.GATEWAY_METRICS_PORT)},
                },
                "spec": _pod(pool, platform),
            },
        },
    }


def gateway_service(pool: ModelPool) -> Manifest:
    """The address of the pool: what a client of a plain Triton would be given."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": object_meta(pool, pool.meta.name, names.GATEWAY),
        "spec": {
            "selector": selector(pool, names.GATEWAY),
            "ports": [
                {"name": "http", "port": names.HTTP_PORT, "targetPort": "http", "protocol": "TCP"},
                {
                    "name": "grpc",
                    "port": names.GRPC_PORT,
                    "targetPort": "grpc",
                    "protocol": "TCP",
                    "appProtocol": "kubernetes.io/h2c",
                },
            ],
        },
    }


def gateway_role(pool: ModelPool) -> Manifest:
    """The gateway reads pods and Models of its own namespace, and nothing else."""
    verbs = ["get", "list", "watch"]
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": object_meta(pool, names.gateway_name(pool.meta.name), names.GATEWAY),
        "rules": [
            {"apiGroups": [""], "resources": ["pods"], "verbs": verbs},
            {"apiGroups": [names.GROUP], "resources": [names.MODEL_PLURAL], "verbs": verbs},
        ],
    }


def gateway_role_binding(pool: ModelPool) -> Manifest:
    """Gives the Role to the gateway's ServiceAccount."""
    name = names.gateway_name(pool.meta.name)
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": object_meta(pool, name, names.GATEWAY),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": pool.meta.namespace}],
    }


def _pod(pool: ModelPool, platform: Platform) -> dict[str, Any]:
    bootstrap = _larder_container(pool, platform, "bootstrap", ["bootstrap", "--out", f"{ENVOY_DIR}/envoy.yaml"])
    return {
        "serviceAccountName": names.gateway_name(pool.meta.name),
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": math.ceil(pool.gateway.longest_hold_seconds) + TERMINATION_MARGIN_SECONDS,
        "securityContext": pod_security(USER),
        "initContainers": [bootstrap],
        "containers": [_envoy(pool, platform), _activator(pool, platform)],
        "volumes": _volumes(pool),
        # Copies on different nodes where there are several, so that the loss of one node is not the pool's.
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector(pool, names.GATEWAY)},
            }
        ],
        **({"imagePullSecrets": _pull_secrets(pool)} if pool.template.image_pull_secrets else {}),
    }


def _pull_secrets(pool: ModelPool) -> list[dict[str, str]]:
    return [{"name": name} for name in pool.template.image_pull_secrets]


def _envoy(pool: ModelPool, platform: Platform) -> Manifest:
    return {
        "name": "envoy",
        "image": platform.envoy_image,
        "imagePullPolicy": platform.pull_policy,
        "command": ["envoy"],
        "args": ["-c", f"{ENVOY_DIR}/envoy.yaml"],
        "ports": [
            {"name": "http", "containerPort": names.HTTP_PORT},
            {"name": "grpc", "containerPort": names.GRPC_PORT},
        ],
        "resources": dict(pool.gateway.resources),
        "securityContext": _container_security(),
        # Envoy ends at once on SIGTERM; the activator's answer holds it back until nothing is held any more.
        "lifecycle": {"preStop": {"httpGet": {"path": "/drained", "port": names.ACTIVATOR_PROBE_PORT}}},
        # An Envoy that restarted in place is ready only when the activator has given it its endpoints.
        "readinessProbe": _READY,
        "volumeMounts": _mounts(pool),
    }


def _activator(pool: ModelPool, platform: Platform) -> Manifest:
    container = _larder_container(pool, platform, "activator", ["run"])
    return {
        **container,
        "ports": [
            {"name": "metrics", "containerPort": names.GATEWAY_METRICS_PORT},
            {"name": "demand", "containerPort": names.DEMAND_PORT},
            {"name": "probes", "containerPort": names.ACTIVATOR_PROBE_PORT},
        ],
        "resources": dict(pool.gateway.resources),
        "readinessProbe": _READY,
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": names.ACTIVATOR_PROBE_PORT},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
    }


def _larder_container(pool: ModelPool, platform: Platform, name: str, arguments: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "image": platform.larder_image,
        "imagePullPolicy": platform.pull_policy,
        "command": ["larder"],
        "args": ["gateway", *arguments],
        "env": _environment(pool),
        "securityContext": _container_security(),
        "volumeMounts": _mounts(pool),
    }


def _environment(pool: ModelPool) -> list[dict[str, Any]]:
    values = {
        "LARDER_POOL": pool.meta.name,
        "LARDER_NAMESPACE": pool.meta.namespace,
        "LARDER_LONGEST_HOLD_SECONDS": f"{pool.gateway.longest_hold_seconds:g}",
        "LARDER_HELD_BYTES": str(pool.gateway.held_bytes),
        "LARDER_HELD_REQUESTS": str(pool.gateway.held_requests),
        "LARDER_BODY_LIMIT_BYTES": str(pool.gateway.body_limit_bytes),
        "LARDER_RUN_DIR": RUN_DIR,
        **_envoy_memory(pool),
        **({"LARDER_TLS_DIR": TLS_DIR} if pool.gateway.tls_secret else {}),
    }
    return [
        *({"name": name, "value": value} for name, value in values.items()),
        secret_variable("LARDER_DEMAND_TOKEN", pool, names.DEMAND_TOKEN_KEY),
        field_variable("POD_NAME", "metadata.name"),
        field_variable("POD_IP", "status.podIP"),
    ]


def _envoy_memory(pool: ModelPool) -> dict[str, str]:
    limit = (pool.gateway.resources.get("limits") or {}).get("memory")
    if limit is None:
        return {}
    return {"LARDER_ENVOY_MEMORY_BYTES": str(parse_bytes("spec.gateway.resources.limits.memory", limit))}


def _container_security() -> dict[str, Any]:
    return {**CONTAINER_SECURITY, "readOnlyRootFilesystem": True}


def _volumes(pool: ModelPool) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [
        # Each of Envoy's workers that is used takes 4 MB of it for its counters, and so does each after a restart.
        {"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "512Mi"}},
        {"name": "envoy", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
    ]
    if pool.gateway.tls_secret:
        volumes.append({"name": "tls", "secret": {"secretName": pool.gateway.tls_secret}})
    return volumes


def _mounts(pool: ModelPool) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = [
        {"name": "run", "mountPath": RUN_DIR},
        {"name": "envoy", "mountPath": ENVOY_DIR},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 (a mount of the pod)
    ]
    if pool.gateway.tls_secret:
        mounts.append({"name": "tls", "mountPath": TLS_DIR, "readOnly": True})
    return mounts
