"""Custom resources for tests: the smallest that the API server lets in, and the CRDs' schemas with their defaults."""

import copy
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


def model(name: str = "resnet50", **spec: Any) -> dict[str, Any]:
    return _object("Model", name, {"pool": "vision", **spec})


def pool(name: str = "vision", **spec: Any) -> dict[str, Any]:
    smallest = {
        "repository": {"volume": {"emptyDir": {}}},
        "memory": {"budget": "24Gi", "defaultModelMemory": "2Gi"},
    }
    return _object("ModelPool", name, {**smallest, **spec})


def schema(plural: str) -> dict[str, Any]:
    definition = yaml.safe_load((ROOT / "crds" / f"larder.dev_{plural}.yaml").read_text())
    found: dict[str, Any] = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def with_defaults(node: dict[str, Any], value: Any) -> Any:
    """Apply a structural schema's defaults as the API server does."""
    if isinstance(value, dict):
        fields = node.get("properties", {})
        missing = {name: copy.deepcopy(field["default"]) for name, field in fields.items() if "default" in field}
        merged = {**missing, **value}
        return {name: with_defaults(fields.get(name, {}), item) for name, item in merged.items()}
    if isinstance(value, list):
        return [with_defaults(node.get("items", {}), item) for item in value]
    return value


def without_unknown_fields(node: dict[str, Any]) -> dict[str, Any]:
    """The schema as JSON Schema that refuses what the API server would drop."""
    made = dict(node)
    if "properties" in node:
        made["properties"] = {name: without_unknown_fields(field) for name, field in node["properties"].items()}
        made["additionalProperties"] = False
    if "items" in node:
        made["items"] = without_unknown_fields(node["items"])
    return made


def _object(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "larder.dev/v1alpha1",
        "kind": kind,
        "metadata": {
            "namespace": "shop",
            "name": name,
            "uid": "0f0f",
            "generation": 3,
            "creationTimestamp": "2026-01-31T12:00:00Z",
            "resourceVersion": "42",
        },
        "spec": spec,
    }
