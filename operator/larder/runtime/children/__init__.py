"""The objects that a pool owns, as pure functions of its spec. Applied by server-side apply, removed by the garbage
collector through their owner references.
"""

from larder.api import names
from larder.api.resources import Manifest, ModelPool
from larder.runtime.children.common import Keys, object_meta, selector
from larder.runtime.children.gateway import gateway_deployment, gateway_role, gateway_role_binding, gateway_service
from larder.runtime.children.triton import triton_deployment
from larder.runtime.settings import Platform

__all__ = ["Keys", "children", "keys_secret", "triton_deployment"]


def children(pool: ModelPool, platform: Platform, keys: Keys, pods: int) -> tuple[Manifest, ...]:
    """Return every object of the pool but its Secret, in the order in which to apply them.

    `pods` is the number of Triton pods that the Deployment asks for.
    """
    triton, gateway = names.triton_name(pool.meta.name), names.gateway_name(pool.meta.name)
    return (
        _service_account(pool, triton, names.TRITON),
        _service_account(pool, gateway, names.GATEWAY),
        gateway_role(pool),
        gateway_role_binding(pool),
        gateway_service(pool),
        _disruption_budget(pool, triton, names.TRITON),
        _disruption_budget(pool, gateway, names.GATEWAY),
        triton_deployment(pool, platform, keys, pods),
        gateway_deployment(pool, platform, keys),
    )


def keys_secret(pool: ModelPool, keys: Keys) -> Manifest:
    """Return the Secret with the pool's keys. It is created once and never changed: pods carry the keys."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": object_meta(pool, names.keys_name(pool.meta.name)),
        "type": "Opaque",
        "stringData": {names.TRITON_ADMIN_KEY: keys.admin_key, names.DEMAND_TOKEN_KEY: keys.demand_token},
    }


def _service_account(pool: ModelPool, name: str, component: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": object_meta(pool, name, component),
        "automountServiceAccountToken": component == names.GATEWAY,
    }


def _disruption_budget(pool: ModelPool, name: str, component: str) -> Manifest:
    """One pod may go at a time, and an unhealthy one always: no drain of a node is ever blocked."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": object_meta(pool, name, component),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector(pool, component)},
        },
    }
