"""Custom resources are read once: the schema's defaults, whatever the API server lets in, and nothing but our error."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from larder.api import resources
from larder.api.parsing import parse_model, parse_model_pool
from larder.errors import InvalidInputError
from tests.api import builders

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
QUANTITIES = st.sampled_from(["0", "1", "64Mi", "1.5Gi", "2e9", "900Ti", "100m", "x"])
DURATIONS = st.sampled_from(["1ms", "50ms", "2s", "1m30s", "99999h", "0s", "x"])


def parse(plural: str, manifest: Any) -> resources.Model | resources.ModelPool:
    return parse_model(manifest) if plural == "models" else parse_model_pool(manifest)


def smallest(plural: str) -> dict[str, Any]:
    return builders.model() if plural == "models" else builders.pool()


def values_of(node: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a structural schema lets in, its rules left aside."""
    if "enum" in node:
        return st.sampled_from(node["enum"])
    if node.get("x-kubernetes-preserve-unknown-fields"):
        return st.dictionaries(st.text(max_size=5), JSON, min_size=1, max_size=2)
    if node.get("x-kubernetes-int-or-string"):
        return st.integers(0, 9) | QUANTITIES
    if node["type"] == "object":
        return objects_of(node)
    if node["type"] == "array":
        return st.lists(values_of(node["items"]), max_size=2)
    return {
        "integer": st.integers(node.get("minimum", -(2**31)), node.get("maximum", 2**31)),
        "number": st.floats(allow_nan=False) | st.integers(),
        "boolean": st.booleans(),
        "string": QUANTITIES | DURATIONS | st.text(min_size=node.get("minLength", 0), max_size=9),
    }[node["type"]]


def objects_of(node: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    if "properties" not in node:
        return st.dictionaries(st.text(max_size=5), values_of(node["additionalProperties"]), max_size=2)
    fields = {name: values_of(field) for name, field in node["properties"].items()}
    required = {name: fields.pop(name) for name in node.get("required", [])}
    return st.fixed_dictionaries(required, optional=fields)


@pytest.mark.parametrize("plural", ["models", "modelpools"])
def test_absent_fields_are_read_with_the_defaults_of_the_schema(plural: str) -> None:
    manifest = smallest(plural)
    defaulted = builders.with_defaults(builders.schema(plural), manifest)
    assert defaulted != manifest
    assert parse(plural, manifest) == parse(plural, defaulted)


@pytest.mark.parametrize("plural", ["models", "modelpools"])
def test_the_defaults_of_the_schema_are_those_of_the_dataclasses(plural: str) -> None:
    parsed = parse(plural, smallest(plural))
    if isinstance(parsed, resources.Model):
        assert parsed == resources.Model(parsed.meta, "vision", "resnet50")
    else:
        repository = resources.Repository(volume={"emptyDir": {}})
        memory = resources.Memory(24 * 2**30, 2 * 2**30)
        assert parsed == resources.ModelPool(parsed.meta, repository, memory)


SPECS = {plural: values_of(builders.schema(plural)["properties"]["spec"]) for plural in ("models", "modelpools")}


@pytest.mark.parametrize("plural", ["models", "modelpools"])
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_whatever_the_schema_lets_in_is_read_or_refused_with_a_sentence(plural: str, data: st.DataObject) -> None:
    spec = data.draw(SPECS[plural])
    try:
        parse(plural, {**smallest(plural), "spec": spec})
    except InvalidInputError as error:
        assert error.field.startswith("spec")


@pytest.mark.parametrize("plural", ["models", "modelpools"])
@given(garbage=JSON, name=st.sampled_from(["metadata", "spec", "status", "all"]))
def test_what_is_no_resource_at_all_is_refused(plural: str, garbage: Any, name: str) -> None:
    manifest = garbage if name == "all" else {**smallest(plural), name: garbage}
    try:
        parse(plural, manifest)
    except InvalidInputError as error:
        assert error.allowed


MODELS = st.builds(
    resources.Model,
    meta=st.just(resources.ObjectMeta("shop", "resnet50", "0f0f", 3, 1769860800.0, "42")),
    pool=st.sampled_from(["vision", "a"]),
    served_name=st.sampled_from(["resnet50", "Other_v2"]),
    memory_bytes=st.none() | st.integers(1, 2**50),
    slo=st.builds(
        resources.SLO,
        latency_seconds=st.none() | st.integers(1, 10**6).map(lambda ms: ms / 1000),
        percentile=st.floats(0.1, 99.9),
        cold_start_seconds=st.none() | st.integers(1, 10**6).map(lambda ms: ms / 1000),
    ),
    priority=st.integers(-1000, 1000),
    min_copies=st.integers(0, 1),
    max_copies=st.just(1),
    revision=st.text(max_size=5),
    stateful=st.booleans(),
    sequence_idle_seconds=st.integers(0, 600).map(float),
)


@given(MODELS)
def test_a_model_survives_being_written_and_read(model: resources.Model) -> None:
    assert parse_model(json.loads(json.dumps(written(model)))) == model


def written(model: resources.Model) -> dict[str, Any]:
    slo = {
        "latency": model.slo.latency_seconds
        and f"{round(model.slo.latency_seconds * 1000) // 1000}s{round(model.slo.latency_seconds * 1000) % 1000}ms",
        "percentile": model.slo.percentile,
        "coldStart": model.slo.cold_start_seconds
        and f"{round(model.slo.cold_start_seconds * 1000) // 1000}s"
        f"{round(model.slo.cold_start_seconds * 1000) % 1000}ms",
    }
    return builders.model(
        pool=model.pool,
        repositoryName=model.served_name,
        memory=None if model.memory_bytes is None else str(model.memory_bytes),
        slo=slo,
        priority=model.priority,
        copies={"min": model.min_copies, "max": model.max_copies},
        revision=model.revision,
        stateful=model.stateful,
        sequenceIdleSeconds=int(model.sequence_idle_seconds),
    )


def test_every_field_of_a_pool_is_read() -> None:
    memory = {
        "budget": "8Gi",
        "base": "1Gi",
        "defaultModelMemory": "100Mi",
        "highWatermark": 90,
        "lowWatermark": 70,
    }
    pool = parse_model_pool(
        builders.pool(
            repository={"uri": "s3://b/models", "credentialsSecret": {"name": "s3"}},
            memory=memory,
            pods={"min": 2, "max": 5, "fixed": 0, "surge": 0},
            loading={"concurrency": 4, "loadTimeout": "2m", "unloadTimeout": "5s"},
            autoComplete=False,
            drainSeconds=5,
            protectionSeconds=7,
            mode="Advise",
        )
    )
    assert pool.repository == resources.Repository(uri="s3://b/models", credentials_secret="s3")
    assert pool.memory == resources.Memory(8 * 2**30, 100 * 2**20, 2**30, 0.9, 0.7)
    assert pool.pods == resources.Pods(2, 5, 0, 0)
    assert pool.loading == resources.Loading(4, 120.0, 5.0)
    assert (pool.auto_complete, pool.drain_seconds, pool.protection_seconds, pool.mode) == (False, 5, 7, "Advise")


def test_every_field_of_a_gateway_is_read() -> None:
    gateway = {
        "replicas": 3,
        "resources": {"limits": {"cpu": 2}},
        "longestHold": "90s",
        "heldBytes": "1Gi",
        "heldRequests": 500,
        "bodyLimit": "16Mi",
        "tlsSecret": {"name": "tls"},
    }
    pool = parse_model_pool(builders.pool(gateway=gateway))
    assert pool.gateway == resources.Gateway(3, {"limits": {"cpu": 2}}, 90.0, 2**30, 500, 16 * 2**20, "tls")


def test_every_field_of_the_pods_template_is_read() -> None:
    template = {
        "image": "triton:1",
        "imagePullPolicy": "Always",
        "imagePullSecrets": [{"name": "pull"}],
        "resources": {"limits": {"nvidia.com/gpu": 1}},
        "sharedMemory": "64Mi",
        "nodeSelector": {"gpu": "yes"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "labels": {"team": "a"},
        "annotations": {"note": "b"},
        "extraArgs": ["--log-verbose=1"],
        "env": [{"name": "A", "value": "1"}],
    }
    assert parse_model_pool(builders.pool(template=template)).template == resources.Template(
        image="triton:1",
        image_pull_policy="Always",
        image_pull_secrets=("pull",),
        resources={"limits": {"nvidia.com/gpu": 1}},
        shared_memory_bytes=64 * 2**20,
        node_selector={"gpu": "yes"},
        tolerations=({"key": "gpu", "operator": "Exists"},),
        affinity={"podAntiAffinity": {}},
        labels={"team": "a"},
        annotations={"note": "b"},
        extra_args=("--log-verbose=1",),
        env=({"name": "A", "value": "1"},),
    )


@pytest.mark.parametrize(
    ("manifest", "sentence"),
    [
        (builders.model(pool=""), "spec.pool: '' is not allowed; it must not be empty"),
        (builders.model(copies={"min": 3, "max": 2}), "spec.copies.min: 3 is not allowed; it must be at most 2"),
        (builders.model(stateful=True, copies={"max": 2}), "spec.copies.max: 2 is not allowed; it must be 1"),
        (
            builders.model(slo={"percentile": 100}),
            "spec.slo.percentile: 100 is not allowed; it must be a number above 0",
        ),
        (builders.pool(repository={}), "spec.repository: {} is not allowed; give exactly one of uri and volume"),
        (
            builders.pool(memory={"budget": "1Gi"}),
            "spec.memory.defaultModelMemory: None is not allowed; it is required",
        ),
        (builders.pool(pods={"min": 2}), "spec.pods.min: 2 is not allowed; it must be at most spec.pods.max (1)"),
        (builders.pool(mode="Maybe"), "spec.mode: 'Maybe' is not allowed; it must be Active or Advise"),
        (
            builders.pool(template={"extraArgs": [1]}),
            "spec.template.extraArgs[0]: 1 is not allowed; it must be a string",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_value_and_what_is_allowed(manifest: dict[str, Any], sentence: str) -> None:
    parse_this = parse_model if manifest["kind"] == "Model" else parse_model_pool
    with pytest.raises(InvalidInputError) as refused:
        parse_this(manifest)
    assert str(refused.value).startswith(sentence)


def test_a_stateful_model_without_a_maximum_has_one_copy_at_most() -> None:
    assert parse_model(builders.model(stateful=True)).max_copies == 1


def test_an_object_being_deleted_says_so() -> None:
    manifest = builders.model()
    manifest["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:01Z"
    assert parse_model(manifest).meta.deleting
    assert not parse_model(builders.model()).meta.deleting
