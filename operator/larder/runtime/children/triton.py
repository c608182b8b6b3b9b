"""The Deployment of a pool's Triton pods: the official image and command line, explicit model control.

Pods run as the official image's unprivileged user unless the operator is told otherwise, with the repository
mounted read-only. Loading and unloading is for the operator alone, by key.
"""

import math
from typing import Any, Final

from larder.api import names
from larder.api.resources import Manifest, ModelPool
from larder.runtime.children.common import (
    CONTAINER_SECURITY,
    KEYS_DIGEST_ANNOTATION,
    Keys,
    labels,
    object_meta,
    pod_security,
    scraped,
    secret_variable,
    selector,
)
from larder.runtime.settings import Platform

REPOSITORY_PATH: Final = "/models"
DEFAULT_SHARED_MEMORY_BYTES: Final = 256 * 1024 * 1024
EXIT_SECONDS: Final = 30
"""What Triton takes at most to end what runs, its own --exit-timeout-secs."""
METER_USER: Final = 65532
GPU_INTERVAL_MS: Final = 250
"""How often Triton asks a GPU for its memory."""
_ADMIN_APIS: Final = "model-repository,shared-memory,trace,logging"
_START_SECONDS: Final = 600


def triton_deployment(pool: ModelPool, platform: Platform, keys: Keys, pods: int) -> Manifest:
    """Return the Deployment with `pods` replicas."""
    name = names.triton_name(pool.meta.name)
    in_place = pool.pods.surge == 0
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": object_meta(pool, name, names.TRITON),
        "spec": {
            "replicas": pods,
            "selector": {"matchLabels": selector(pool, names.TRITON)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {
                    "maxSurge": 0 if in_place else 1,
                    "maxUnavailable": 1 if in_place else 0,
                },
            },
            "revisionHistoryLimit": 3,
            "template": _pod(pool, platform, keys),
        },
    }


def _pod(pool: ModelPool, platform: Platform, keys: Keys) -> Manifest:
    template = pool.template
    return {
        "metadata": {
            "labels": {**template.labels, **labels(pool, names.TRITON)},
            "annotations": {
                **scraped(names.METRICS_PORT),
                # What kubectl logs and exec mean without a container's name.
                "kubectl.kubernetes.io/default-container": names.TRITON,
                **template.annotations,
                KEYS_DIGEST_ANNOTATION: keys.digest,
            },
        },
        "spec": {
            "serviceAccountName": names.triton_name(pool.meta.name),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": math.ceil(pool.drain_seconds) + EXIT_SECONDS + 5,
            "readinessGates": [{"conditionType": names.SERVING_GATE}],
            "securityContext": _security(platform),
            "containers": [_container(pool, platform), *_meter(pool, platform)],
            **_seen_by_the_meter(pool),
            "volumes": _volumes(pool),
            **_placement(pool),
        },
    }


def _meter(pool: ModelPool, platform: Platform) -> list[Manifest]:
    """The meter beside Triton: it sees the pod's processes, and of them only what /proc shows to everybody.

    On a GPU Triton's own metrics tell. Requests equal limits, so that a guaranteed pod stays one.
    """
    if pool.template.has_gpu:
        return []
    resources = {"cpu": "100m", "memory": "64Mi"}
    return [
        {
            "name": names.METER,
            "image": platform.larder_image,
            "imagePullPolicy": platform.pull_policy,
            "command": ["larder", "meter"],
            "env": [secret_variable("LARDER_DEMAND_TOKEN", pool, names.DEMAND_TOKEN_KEY)],
            "ports": [{"name": "meter", "containerPort": names.METER_PORT}],
            "resources": {"requests": resources, "limits": resources},
            "securityContext": {
                **CONTAINER_SECURITY,
                "runAsNonRoot": True,
                "runAsUser": METER_USER,
                "runAsGroup": METER_USER,
                "readOnlyRootFilesystem": True,
            },
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm", "readOnly": True}],  # noqa: S108 (the pod's)
        }
    ]


def _seen_by_the_meter(pool: ModelPool) -> dict[str, Any]:
    return {} if pool.template.has_gpu else {"shareProcessNamespace": True}


def _placement(pool: ModelPool) -> dict[str, Any]:
    """Where the pods may run, as the user says; nothing where nothing is said."""
    template = pool.template
    fields = {
        "nodeSelector": dict(template.node_selector),
        "tolerations": list(template.tolerations),
        "affinity": template.affinity,
        "imagePullSecrets": [{"name": name} for name in template.image_pull_secrets],
    }
    return {name: value for name, value in fields.items() if value}


def _security(platform: Platform) -> dict[str, Any]:
    if platform.triton_user is None:
        return {"seccompProfile": {"type": "RuntimeDefault"}}
    return pod_security(platform.triton_user)


def _container(pool: ModelPool, platform: Platform) -> Manifest:
    template = pool.template
    container: dict[str, Any] = {
        "name": names.TRITON,
        "image": template.image or platform.triton_image,
        "imagePullPolicy": template.image_pull_policy or platform.pull_policy,
        # As arguments, so that the entry point of the official image still runs.
        "args": _arguments(pool),
        "env": [secret_variable("LARDER_ADMIN_KEY", pool, names.TRITON_ADMIN_KEY), *template.env],
        "ports": [
            {"name": "http", "containerPort": names.HTTP_PORT},
            {"name": "grpc", "containerPort": names.GRPC_PORT},
            {"name": "metrics", "containerPort": names.METRICS_PORT},
        ],
        "resources": dict(template.resources),
        "securityContext": dict(CONTAINER_SECURITY),
        # So that a pod that fails says why in its own status.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": _mounts(pool),
        **_probes(),
    }
    if pool.repository.credentials_secret:
        container["envFrom"] = [{"secretRef": {"name": pool.repository.credentials_secret}}]
    if pool.drain_seconds > 0:
        container["lifecycle"] = {"preStop": {"sleep": {"seconds": math.ceil(pool.drain_seconds)}}}
    return container


def _arguments(pool: ModelPool) -> list[str]:
    repository = pool.repository.uri or REPOSITORY_PATH
    restricted = f"{_ADMIN_APIS}:{names.TRITON_ADMIN_HEADER}=$(LARDER_ADMIN_KEY)"
    return [
        "tritonserver",
        f"--model-repository={repository}",
        "--model-control-mode=explicit",
        "--strict-readiness=false",
        f"--http-port={names.HTTP_PORT}",
        f"--grpc-port={names.GRPC_PORT}",
        f"--metrics-port={names.METRICS_PORT}",
        f"--http-restricted-api={restricted}",
        f"--grpc-restricted-protocol={restricted}",
        f"--exit-timeout-secs={EXIT_SECONDS}",
        *((f"--metrics-interval-ms={GPU_INTERVAL_MS}",) if pool.template.has_gpu else ()),
        *(() if pool.auto_complete else ("--disable-auto-complete-config",)),
        *pool.template.extra_args,
    ]


def _probes() -> dict[str, Any]:
    ready = {"path": "/v2/health/ready", "port": names.HTTP_PORT}
    live = {"path": "/v2/health/live", "port": names.HTTP_PORT}
    return {
        "startupProbe": {"httpGet": ready, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": _START_SECONDS},
        "readinessProbe": {"httpGet": ready, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3},
        # Generous: only a server that hangs for a minute is restarted, and loses its models.
        "livenessProbe": {"httpGet": live, "periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": 6},
    }


def _volumes(pool: ModelPool) -> list[dict[str, Any]]:
    size = pool.template.shared_memory_bytes or DEFAULT_SHARED_MEMORY_BYTES
    volumes: list[dict[str, Any]] = [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": str(size)}}]
    if pool.repository.volume is not None:
        volumes.append({"name": "models", **pool.repository.volume})
    return volumes


def _mounts(pool: ModelPool) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = [{"name": "shm", "mountPath": "/dev/shm"}]  # noqa: S108 (a mount of the pod)
    if pool.repository.volume is not None:
        mount = {"name": "models", "mountPath": REPOSITORY_PATH, "readOnly": True}
        mounts.append({**mount, "subPath": pool.repository.sub_path} if pool.repository.sub_path else mount)
    return mounts
