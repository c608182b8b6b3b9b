"""Wrong objects are refused by the API server with a sentence that names the field, the value and what is allowed."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e import chart
from e2e.kube import Kube, Manifest
from e2e.target import Target
from larder.api.names import API_VERSION
from larder.errors import KubernetesError

NAMESPACE = "e2e-crd-validation"
QUANTITY = "it must be a quantity such as 512Mi or 2Gi, from 1 to 1Pi"
DURATION = "it must be a positive duration such as"
POOL: Manifest = {
    "repository": {"volume": {"emptyDir": {}}},
    "memory": {"budget": "24Gi", "defaultModelMemory": "2Gi"},
}
BOTH = {"uri": "s3://bucket/models", "volume": {"emptyDir": {}}}

WRONG_POOLS = [
    ("repository", {}, "spec.repository: Invalid value: give exactly one of spec.repository.uri and spec.repository.volume; neither is given"),
    ("repository", BOTH, "give exactly one of spec.repository.uri and spec.repository.volume; both are given"),
    ("repository", None, "spec.repository: Required value"),
    ("repository.volume", {}, "spec.repository.volume in body should have at least 1 properties"),
    ("repository.volume", {"emptyDir": {}, "name": "x"}, "spec.repository.volume: Too many: 2: must have at most 1 item"),
    ("repository.subPath", "../etc", 'spec.repository.subPath: Invalid value: "../etc": it must be a relative path without \'..\''),
    ("repository.subPath", "/etc", 'spec.repository.subPath: Invalid value: "/etc": it must be a relative path'),
    ("repository.credentialsSecret", {"name": "s3"}, "spec.repository.credentialsSecret goes with spec.repository.uri"),
    ("repository", {"uri": "s3://b/m", "subPath": "a"}, "spec.repository.subPath goes with spec.repository.volume"),
    ("repository", {"uri": "ftp://b/m"}, 'spec.repository.uri: Invalid value: "ftp://b/m": it must begin with s3://, gs:// or as://'),
    ("memory", {"defaultModelMemory": "2Gi"}, "spec.memory.budget: Required value"),
    ("memory", {"budget": "24Gi"}, "spec.memory.defaultModelMemory: Required value"),
    ("memory.budget", "lots", f'spec.memory.budget: Invalid value: "lots": {QUANTITY}'),
    ("memory.budget", "-1Gi", f'spec.memory.budget: Invalid value: "-1Gi": {QUANTITY}'),
    ("memory.budget", "0", f'spec.memory.budget: Invalid value: "0": {QUANTITY}'),
    ("memory.budget", "2Pi", f'spec.memory.budget: Invalid value: "2Pi": {QUANTITY}'),
    ("memory.budget", 1024, 'spec.memory.budget in body must be of type string: "integer"'),
    ("memory.base", "-1", 'spec.memory.base: Invalid value: "-1": it must be a quantity such as 512Mi or 2Gi, from 0 to 1Pi'),
    ("memory.base", "24Gi", "spec.memory.base is 24Gi; it must be less than spec.memory.budget, which is 24Gi"),
    ("memory.defaultModelMemory", "25Gi", "spec.memory.defaultModelMemory is 25Gi; with spec.memory.base (0) it must fit spec.memory.budget, which is 24Gi"),
    ("memory.lowWatermark", 95, "spec.memory.lowWatermark is 95; it must be less than spec.memory.highWatermark, which is 95"),
    ("memory.highWatermark", 101, "spec.memory.highWatermark in body should be less than or equal to 100"),
    ("memory.bugdet", "1Gi", 'unknown field "spec.memory.bugdet"'),
    ("pods", {"min": 3, "max": 2}, "spec.pods.min is 3; it must be at most spec.pods.max, which is 2"),
    ("pods", {"min": 0}, "spec.pods.min in body should be greater than or equal to 1"),
    ("pods", {"fixed": -1}, "spec.pods.fixed in body should be greater than or equal to 0"),
    ("pods", {"surge": 2}, "spec.pods.surge in body should be less than or equal to 1"),
    ("loading", {"loadTimeout": "soon"}, f'spec.loading.loadTimeout: Invalid value: "soon": {DURATION}'),
    ("loading", {"unloadTimeout": "0s"}, f'spec.loading.unloadTimeout: Invalid value: "0s": {DURATION}'),
    ("loading", {"concurrency": 0}, "spec.loading.concurrency in body should be greater than or equal to 1"),
    ("drainSeconds", -1, "spec.drainSeconds in body should be greater than or equal to 0"),
    ("protectionSeconds", "30s", 'spec.protectionSeconds in body must be of type integer: "string"'),
    ("gateway", {"longestHold": "-5s"}, f'spec.gateway.longestHold: Invalid value: "-5s": {DURATION}'),
    ("gateway", {"heldBytes": "1Mi"}, "spec.gateway.bodyLimit is 64Mi; it must be at most spec.gateway.heldBytes, which is 1Mi"),
    ("gateway", {"bodyLimit": "big"}, f'spec.gateway.bodyLimit: Invalid value: "big": {QUANTITY}'),
    ("gateway", {"replicas": 0}, "spec.gateway.replicas in body should be greater than or equal to 1"),
    ("gateway", {"tlsSecret": {}}, "spec.gateway.tlsSecret.name: Required value"),
    ("gateway", {"resources": {"limits": {"cpu": "-1"}}}, "it must be a quantity such as 500m, 2 or 4Gi, not negative"),
    ("mode", "Passive", 'spec.mode: Unsupported value: "Passive": supported values: "Active", "Advise"'),
    ("template", {"resources": {"limits": {"nvidia.com/gpu": 2}}}, "nvidia.com/gpu must be 0 or 1"),
    ("template", {"resources": {"requests": {"nvidia.com/gpu": "2"}}}, "nvidia.com/gpu must be 0 or 1"),
    ("template", {"sharedMemory": "0"}, f'spec.template.sharedMemory: Invalid value: "0": {QUANTITY}'),
    ("template", {"labels": {"larder.dev/pool": "x"}}, "labels under larder.dev/ and app.kubernetes.io/ are Larder's own"),
    ("template", {"annotations": {"larder.dev/residency": "x"}}, "annotations under larder.dev/ are Larder's own"),
    ("template", {"extraArgs": ["--model-control-mode=poll"]}, 'spec.template.extraArgs[0]: Invalid value: "--model-control-mode=poll": it is set by Larder itself'),
    ("template", {"env": [{"name": "LARDER_ADMIN_KEY", "value": "x"}]}, "variables that begin with LARDER_ are Larder's own"),
    ("template", {"env": [{"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {}}}]}, "A: give one of value and valueFrom, not both"),
    ("template", {"imagePullPolicy": "Maybe"}, "supported values: \"Always\", \"IfNotPresent\", \"Never\""),
]
WRONG_MODELS = [
    ("pool", None, "spec.pool: Required value"),
    ("pool", "Vision", 'spec.pool: Invalid value: "Vision": it must be the name of a ModelPool'),
    ("repositoryName", "a/b", 'spec.repositoryName: Invalid value: "a/b": it must be the name of a folder in the repository'),
    ("repositoryName", "..", 'spec.repositoryName: Invalid value: "..": it must be the name of a folder'),
    ("memory", "1 GB", f'spec.memory: Invalid value: "1 GB": {QUANTITY}'),
    ("memory", "0", f'spec.memory: Invalid value: "0": {QUANTITY}'),
    ("slo", {"latency": "50"}, f'spec.slo.latency: Invalid value: "50": {DURATION}'),
    ("slo", {"latency": "0ms"}, f'spec.slo.latency: Invalid value: "0ms": {DURATION}'),
    ("slo", {"coldStart": "1.5s"}, f'spec.slo.coldStart: Invalid value: "1.5s": {DURATION}'),
    ("slo", {"percentile": 0}, "spec.slo.percentile: Invalid value: 0: it must be above 0 and below 100"),
    ("slo", {"percentile": 100}, "spec.slo.percentile: Invalid value: 100: it must be above 0 and below 100"),
    ("priority", 5000, "spec.priority in body should be less than or equal to 1000"),
    ("copies", {"min": 3, "max": 2}, "spec.copies.min is 3; it must be at most spec.copies.max, which is 2"),
    ("copies", {"min": -1}, "spec.copies.min in body should be greater than or equal to 0"),
    ("revision", 7, 'spec.revision in body must be of type string: "integer"'),
    ("sequenceIdleSeconds", -1, "spec.sequenceIdleSeconds in body should be greater than or equal to 0"),
    ("stateful", "yes", 'spec.stateful in body must be of type boolean: "string"'),
    ("slo.percentil", 99, 'unknown field "spec.slo.percentil"'),
]


@pytest.fixture(scope="module")
def api(target: Target) -> Iterator[Kube]:
    """A namespace without a pool."""
    target.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    yield target.kube.within(NAMESPACE)
    target.kube.delete("Namespace", NAMESPACE)


def thing(kind: str, name: str, spec: Manifest) -> Manifest:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def changed(spec: Manifest, path: str, value: Any) -> Manifest:
    """Return the spec with one field set (None: left out)."""
    result = copy.deepcopy(spec)
    *parents, last = path.split(".")
    section = result
    for name in parents:
        section = section.setdefault(name, {})
    section.pop(last, None)
    return {**result, **({last: value} if not parents else {})} if value is not None and not parents else _set(
        result, section, last, value
    )


def _set(result: Manifest, section: Manifest, last: str, value: Any) -> Manifest:
    if value is not None:
        section[last] = value
    return result


def refusal(api: Kube, manifest: Manifest) -> str:
    with pytest.raises(KubernetesError) as refused:
        api.create(manifest, dry_run=True)
    assert refused.value.status in {400, 422}
    return sentence(refused.value)


def sentence(error: KubernetesError) -> str:
    """Return the API server's own sentence."""
    return str(error)
