"""Wrong objects are refused by the API server with a sentence that names the field, the value and what is allowed."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from e2e import chart
from e2e.kube import Kube, Manifest
from e2e.target import Target
from e2e.tests.stage import new_namespace
from larder.api.names import API_VERSION
from larder.errors import KubernetesError

SMALLEST_POOL: Final[Manifest] = {
    "repository": {"volume": {"emptyDir": {}}},
    "memory": {"budget": "24Gi", "defaultModelMemory": "2Gi"},
}
SMALLEST_MODEL: Final[Manifest] = {"pool": "vision"}

QUANTITY: Final = "it must be a quantity such as 512Mi or 2Gi, from 1 to 1Pi"
QUANTITY_OR_ZERO: Final = "it must be a quantity such as 512Mi or 2Gi, from 0 to 1Pi"
DURATION: Final = "it must be a positive duration such as"
FOLDER: Final = "it must be the name of a folder in the repository"
RELATIVE: Final = "it must be a relative path without '..'"
ONE_GPU: Final = "nvidia.com/gpu must be 0 or 1; a pod has at most one GPU in this release"
ONE_SOURCE: Final = "give exactly one of spec.repository.uri and spec.repository.volume"

WRONG_POOLS: Final[list[tuple[str, Any, str]]] = [
    ("repository", None, "spec.repository: Required value"),
    ("repository", {}, f"{ONE_SOURCE}; neither is given"),
    ("repository.uri", "s3://bucket/models", f"{ONE_SOURCE}; both are given"),
    ("repository", {"uri": "ftp://b/m"}, '"ftp://b/m": it must begin with s3://, gs:// or as://'),
    ("repository", {"uri": "s3://b/m", "subPath": "a"}, "spec.repository.subPath goes with spec.repository.volume"),
    ("repository.volume", {}, "spec.repository.volume in body should have at least 1 properties"),
    ("repository.volume", {"floppy": {}}, "spec.repository.volume in body should have at least 1 properties"),
    ("repository.volume.nfs", {"server": "s"}, "spec.repository.volume: Too many: 2: must have at most 1 item"),
    ("repository.subPath", "../etc", f'spec.repository.subPath: Invalid value: "../etc": {RELATIVE}'),
    ("repository.subPath", "/etc", f'spec.repository.subPath: Invalid value: "/etc": {RELATIVE}'),
    ("repository.credentialsSecret", {"name": "s3"}, "spec.repository.credentialsSecret goes with spec.repository.uri"),
    ("memory.budget", None, "spec.memory.budget: Required value"),
    ("memory.budget", "lots", f'spec.memory.budget: Invalid value: "lots": {QUANTITY}'),
    ("memory.budget", "-1Gi", f'spec.memory.budget: Invalid value: "-1Gi": {QUANTITY}'),
    ("memory.budget", "0", f'spec.memory.budget: Invalid value: "0": {QUANTITY}'),
    ("memory.budget", "2Pi", f'spec.memory.budget: Invalid value: "2Pi": {QUANTITY}'),
    ("memory.budget", 1024, 'spec.memory.budget in body must be of type string: "integer"'),
    ("memory.base", "-1", f'spec.memory.base: Invalid value: "-1": {QUANTITY_OR_ZERO}'),
    ("memory.base", "24Gi", "spec.memory.base is 24Gi; it must be less than spec.memory.budget, which is 24Gi"),
    ("memory.defaultModelMemory", None, "spec.memory.defaultModelMemory: Required value"),
    (
        "memory.defaultModelMemory",
        "25Gi",
        "spec.memory.defaultModelMemory is 25Gi; with spec.memory.base (0) it must fit spec.memory.budget, which is 24",
    ),
    (
        "memory.lowWatermark",
        95,
        "spec.memory.lowWatermark is 95; it must be less than spec.memory.highWatermark, which is 95",
    ),
    ("memory.highWatermark", 101, "spec.memory.highWatermark in body should be less than or equal to 100"),
    ("pods", {"min": 3, "max": 2}, "spec.pods.min is 3; it must be at most spec.pods.max, which is 2"),
    ("pods.min", -1, "spec.pods.min in body should be greater than or equal to 0"),
    ("pods.fixed", -1, "spec.pods.fixed in body should be greater than or equal to 0"),
    ("pods.surge", 2, "spec.pods.surge in body should be less than or equal to 1"),
    ("loading.loadTimeout", "soon", f'spec.loading.loadTimeout: Invalid value: "soon": {DURATION}'),
    ("loading.unloadTimeout", "0s", f'spec.loading.unloadTimeout: Invalid value: "0s": {DURATION}'),
    ("loading.concurrency", 0, "spec.loading.concurrency in body should be greater than or equal to 1"),
    ("drainSeconds", -1, "spec.drainSeconds in body should be greater than or equal to 0"),
    ("protectionSeconds", "30s", 'spec.protectionSeconds in body must be of type integer: "string"'),
    ("gateway.longestHold", "-5s", f'spec.gateway.longestHold: Invalid value: "-5s": {DURATION}'),
    (
        "gateway.heldBytes",
        "1Mi",
        "spec.gateway.bodyLimit is 64Mi; it must be at most spec.gateway.heldBytes, which is 1Mi",
    ),
    ("gateway.bodyLimit", "big", f'spec.gateway.bodyLimit: Invalid value: "big": {QUANTITY}'),
    ("gateway.replicas", 0, "spec.gateway.replicas in body should be greater than or equal to 1"),
    ("gateway.tlsSecret", {}, "spec.gateway.tlsSecret.name: Required value"),
    (
        "gateway.resources",
        {"limits": {"cpu": "-1"}},
        '"-1": it must be a quantity such as 500m, 2 or 4Gi, not negative',
    ),
    ("mode", "Passive", 'spec.mode: Unsupported value: "Passive": supported values: "Active", "Advise"'),
    ("template.resources", {"limits": {"nvidia.com/gpu": 2}}, ONE_GPU),
    ("template.resources", {"requests": {"nvidia.com/gpu": "2"}}, ONE_GPU),
    ("template.resources", {"limits": {"nvidia.com/gpu": 1, "nvidia.com/mig-1g.5gb": 1}}, ONE_GPU),
    ("template.sharedMemory", "0", f'spec.template.sharedMemory: Invalid value: "0": {QUANTITY}'),
    ("template.labels", {"larder.dev/pool": "x"}, "labels under larder.dev/ and app.kubernetes.io/ are Larder's own"),
    ("template.annotations", {"larder.dev/residency": "x"}, "annotations under larder.dev/ are Larder's own"),
    (
        "template.extraArgs",
        ["--model-control-mode=poll"],
        'spec.template.extraArgs[0]: Invalid value: "--model-control-mode=poll": it is set by Larder itself',
    ),
    ("template.env", [{"name": "LARDER_KEY", "value": "x"}], "variables that begin with LARDER_ are Larder's own"),
    (
        "template.env",
        [{"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {}}}],
        "A: give one of value and valueFrom, not both",
    ),
    (
        "template.imagePullPolicy",
        "Maybe",
        'spec.template.imagePullPolicy: Unsupported value: "Maybe": supported values: "Always", "IfNotPresent",',
    ),
]
WRONG_MODELS: Final = [
    ("pool", None, "spec.pool: Required value"),
    ("pool", "Vision", 'spec.pool: Invalid value: "Vision": it must be the name of a ModelPool'),
    ("repositoryName", "a/b", f'spec.repositoryName: Invalid value: "a/b": {FOLDER}'),
    ("repositoryName", "..", f'spec.repositoryName: Invalid value: "..": {FOLDER}'),
    ("memory", "1 GB", f'spec.memory: Invalid value: "1 GB": {QUANTITY}'),
    ("memory", "0", f'spec.memory: Invalid value: "0": {QUANTITY}'),
    ("slo.latency", "50", f'spec.slo.latency: Invalid value: "50": {DURATION}'),
    ("slo.latency", "0ms", f'spec.slo.latency: Invalid value: "0ms": {DURATION}'),
    ("slo.coldStart", "1.5s", f'spec.slo.coldStart: Invalid value: "1.5s": {DURATION}'),
    ("slo.percentile", 0, "spec.slo.percentile: Invalid value: 0: it must be above 0 and below 100"),
    ("slo.percentile", 100, "spec.slo.percentile: Invalid value: 100: it must be above 0 and below 100"),
    ("priority", 5000, "spec.priority in body should be less than or equal to 1000"),
    ("copies", {"min": 3, "max": 2}, "spec.copies.min is 3; it must be at most spec.copies.max, which is 2"),
    ("copies.min", -1, "spec.copies.min in body should be greater than or equal to 0"),
    ("revision", 7, 'spec.revision in body must be of type string: "integer"'),
    ("sequenceIdleSeconds", -1, "spec.sequenceIdleSeconds in body should be greater than or equal to 0"),
    ("stateful", "yes", 'spec.stateful in body must be of type boolean: "string"'),
]
WRONG_STATEFUL_MODELS: Final = [
    ("copies.max", 2, "spec.copies.max is 2; it must be 1, because spec.stateful is true"),
    ("copies.min", 2, "spec.copies.min is 2; it must be 0 or 1, because spec.stateful is true"),
]


@pytest.fixture(scope="module")
def api(target: Target) -> Iterator[Kube]:
    """A namespace in which Models may exist and no pool does."""
    namespace = new_namespace("crd_validation")
    target.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    yield target.kube.within(namespace)
    target.kube.delete("Namespace", namespace)


def resource(kind: str, name: str, spec: Manifest) -> Manifest:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def changed(spec: Manifest, path: str, value: Any) -> Manifest:
    """Return the spec with one field set, or left out (None)."""
    result = copy.deepcopy(spec)
    section, (*parents, last) = result, path.split(".")
    for name in parents:
        section = section.setdefault(name, {})
    section[last] = value
    if value is None:
        del section[last]
    return result


def refusal(error: KubernetesError) -> str:
    """Return the API server's own sentence."""
    assert error.status == 422, error
    said: str = json.loads(str(error).split(": ", 1)[1])["message"]
    return said


def refused(api: Kube, manifest: Manifest) -> str:
    with pytest.raises(KubernetesError) as caught:
        api.create(manifest, dry_run=True)
    return refusal(caught.value)


@pytest.mark.parametrize(("path", "value", "sentence"), WRONG_POOLS)
def test_a_wrong_pool_is_refused(api: Kube, path: str, value: Any, sentence: str) -> None:
    assert sentence in refused(api, resource("ModelPool", "vision", changed(SMALLEST_POOL, path, value)))


@pytest.mark.parametrize(("path", "value", "sentence"), WRONG_MODELS)
def test_a_wrong_model_is_refused(api: Kube, path: str, value: Any, sentence: str) -> None:
    assert sentence in refused(api, resource("Model", "resnet50", changed(SMALLEST_MODEL, path, value)))


@pytest.mark.parametrize(("path", "value", "sentence"), WRONG_STATEFUL_MODELS)
def test_a_stateful_model_with_more_than_one_copy_is_refused(api: Kube, path: str, value: Any, sentence: str) -> None:
    spec = {**SMALLEST_MODEL, "stateful": True}
    assert sentence in refused(api, resource("Model", "resnet50", changed(spec, path, value)))


@pytest.mark.parametrize("name", ["1st", "a.b", "x" * 51])
def test_a_pool_that_could_not_name_a_service_is_refused(api: Kube, name: str) -> None:
    assert f"metadata.name is {name}; it must name a Service" in refused(
        api, resource("ModelPool", name, SMALLEST_POOL)
    )


def test_an_unknown_field_is_refused_by_kubectl(target: Target, api: Kube) -> None:
    wrong = resource("Model", "resnet50", {**SMALLEST_MODEL, "slow": {}})
    command = [*target.tools.kubectl, "--namespace", str(api.namespace), "apply", "--dry-run=server", "-f", "-"]
    with pytest.raises(chart.ToolFailedError, match=r'unknown field "spec\.slow"'):
        chart.run(command, 30, json.dumps(wrong))


@pytest.mark.parametrize(
    ("patch", "sentence"),
    [
        ({"pool": "other"}, "spec.pool is immutable: it stays vision"),
        ({"repositoryName": "other"}, "spec.repositoryName is immutable: it stays immovable"),
    ],
)
def test_what_a_model_is_cannot_be_changed(api: Kube, patch: Manifest, sentence: str) -> None:
    api.apply(resource("Model", "immovable", SMALLEST_MODEL))
    with pytest.raises(KubernetesError) as caught:
        api.patch("Model", "immovable", {"spec": patch})
    assert sentence in refusal(caught.value)


def test_the_name_that_a_model_has_anyway_may_be_written_out(api: Kube) -> None:
    api.apply(resource("Model", "plain", SMALLEST_MODEL))
    api.patch("Model", "plain", {"spec": {"repositoryName": "plain", "revision": "2"}})


@pytest.mark.parametrize("path", sorted((chart.ROOT / "manifests" / "samples").glob("*.yaml")), ids=lambda p: p.name)
def test_the_samples_are_let_in(api: Kube, path: Path) -> None:
    for sample in yaml.safe_load_all(path.read_text()):
        assert api.create(sample, dry_run=True)["metadata"]["uid"]
