"""values.schema.json lets in the defaults and what is meant, and refuses unknown and wrong values."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

CHART = Path(__file__).parents[2] / "helm" / "larder"
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())


def with_value(path: str, value: Any) -> dict[str, Any]:
    values: dict[str, Any] = copy.deepcopy(DEFAULTS)
    *parents, last = path.split(".")
    section = values
    for name in parents:
        section = section.setdefault(name, {})
    section[last] = value
    return values


def objects(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Every schema of an object with named fields."""
    inner = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    return ([schema] if "properties" in schema else []) + [found for one in inner for found in objects(one)]


def paths(schema: dict[str, Any], prefix: str = "") -> set[str]:
    named = {f"{prefix}{name}": one for name, one in schema.get("properties", {}).items()}
    return set(named).union(*(paths(one, f"{path}.") for path, one in named.items()))


def has(values: Any, path: str) -> bool:
    for name in path.split("."):
        if not isinstance(values, dict) or name not in values:
            return False
        values = values[name]
    return True


def test_the_defaults_are_valid() -> None:
    jsonschema.validate(DEFAULTS, SCHEMA)


def test_no_object_of_the_schema_lets_in_an_unknown_field() -> None:
    assert [found for found in objects(SCHEMA) if found.get("additionalProperties") is not False] == []


def test_every_value_that_the_schema_knows_has_a_default_to_read_about() -> None:
    assert {path for path in paths(SCHEMA) if not has(DEFAULTS, path)} == {"global"}


def test_every_line_of_a_default_has_a_comment_above_it_or_above_its_section() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    sections = [n for n, line in enumerate(lines) if line and not line.startswith((" ", "#"))]
    assert [lines[n] for n in sections if not lines[n - 1].startswith("#")] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("images.larder.tag", "1.2.3"),
        ("images.triton.digest", "sha256:" + "0" * 64),
        ("images.larder.repository", "registry.example.com:5000/team/larder"),
        ("imagePullSecrets", [{"name": "pull"}]),
        ("triton.user", "image"),
        ("operator.resources", {"limits": {"cpu": 2, "memory": "1Gi"}}),
        ("operator.extraEnv", [{"name": "A", "value": "b"}]),
        ("watchNamespaces", ["a", "b"]),
        ("podDisruptionBudget.maxUnavailable", "50%"),
        ("monitoring.podMonitor.interval", "1m30s"),
        ("prometheus.url", "https://prometheus.example.com:9090/base"),
        ("prometheus.selector", 'kubernetes_namespace="$namespace"'),
        ("prometheus.tokenSecret.name", "prometheus-token"),
        ("global", {"anything": 1}),
    ],
)
def test_what_is_meant_is_let_in(path: str, value: Any) -> None:
    jsonschema.validate(with_value(path, value), SCHEMA)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("replicas", 2),
        ("operator.replica", 2),
        ("operator.replicas", "2"),
        ("operator.replicas", 0),
        ("images.larder.digest", "sha256:beef"),
        ("images.larder.repository", ""),
        ("images.triton.tag", ""),
        ("images.pullPolicy", "Sometimes"),
        ("imagePullSecrets", ["pull"]),
        ("triton.user", 0),
        ("triton.user", "root"),
        ("operator.resources.limits", {"memory": "lots"}),
        ("operator.extraEnv", [{"value": "b"}]),
        ("watchNamespaces", "default"),
        ("watchNamespaces", ["a", "a"]),
        ("watchNamespaces", ["Upper"]),
        ("crds.install", "yes"),
        ("podDisruptionBudget.maxUnavailable", 0),
        ("podDisruptionBudget.maxUnavailable", "0%"),
        ("monitoring.serviceMonitor.interval", 15),
        ("monitoring.prometheus", {}),
        ("prometheus.url", "prometheus:9090"),
        ("prometheus.tokenSecret.name", "Upper"),
    ],
)
def test_what_is_unknown_or_wrong_is_refused(path: str, value: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(with_value(path, value), SCHEMA)
