"""Pools and Models as the API server stores them."""

from larder.api.parsing import parse_model, parse_model_pool
from larder.runtime.settings import Platform

MIB = 1024 * 1024
PLATFORM = Platform("triton:official", "envoy:official", "larder:dev")


def pool_manifest(name="pool", **spec):
    return {
        "apiVersion": "larder.dev/v1alpha1",
        "kind": "ModelPool",
        "metadata": meta(name),
        "spec": {
            "repository": {"volume": {"configMap": {"name": "repository"}}, "subPath": "repo"},
            "memory": {"budget": "200Mi", "defaultModelMemory": "100Mi", "highWatermark": 100},
            "drainSeconds": 5,
            "protectionSeconds": 0,
            **spec,
        },
    }


def model_manifest(name, created="2026-01-01T00:00:00Z", **spec):
    return {
        "apiVersion": "larder.dev/v1alpha1",
        "kind": "Model",
        "metadata": {**meta(name), "creationTimestamp": created},
        "spec": {"pool": "pool", "memory": "100Mi", **spec},
    }


def meta(name):
    return {
        "name": name,
        "namespace": "tests",
        "uid": f"uid-of-{name}",
        "generation": 1,
        "resourceVersion": "1",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }


def pool(name="pool", **spec):
    return parse_model_pool(pool_manifest(name, **spec))


def model(name, created="2026-01-01T00:00:00Z", **spec):
    return parse_model(model_manifest(name, created, **spec))


def owner(uid="uid-of-pool"):
    """What an object of the pool says of its owner."""
    return {
        "apiVersion": "larder.dev/v1alpha1",
        "kind": "ModelPool",
        "name": "pool",
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
