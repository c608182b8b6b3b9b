"""Keeps the objects of one pool as its spec says: applied when they change, when they vanish, and now and then."""

import base64
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from larder.adapters.kube.client import MERGE_PATCH
from larder.adapters.kube.resources import SECRETS, Resource
from larder.api import names
from larder.api.resources import Manifest, ModelPool
from larder.errors import KubernetesError, LarderError
from larder.runtime.children import Keys, children, keys_secret
from larder.runtime.settings import Platform

log = logging.getLogger(__name__)


class Objects(Protocol):
    """Where objects are kept."""

    async def get(self, resource: Resource, namespace: str, name: str) -> Manifest:
        """Return an object."""

    async def create(self, manifest: Manifest) -> Manifest:
        """Create an object."""

    async def patch(
        self, resource: Resource, target: tuple[str, str], body: Manifest, kind: str, part: str = ""
    ) -> Manifest:
        """Patch an object."""

    async def apply(self, manifest: Manifest, subresource: str | None = None) -> Manifest:
        """Server-side apply."""


@dataclass(slots=True)
class Upkeep:
    """One pool. `refused` says what the API server refused last, empty when all is applied."""

    objects: Objects
    platform: Platform
    make_key: Callable[[], str]
    check: Callable[[], None]
    refused: str = ""
    keys: Keys | None = None
    _applied: dict[tuple[str, str], str] = field(default_factory=dict)

    def forget(self, kind: str | None = None, name: str = "") -> None:
        """Apply one object, or every object, again at the next turn: it may be another than was applied last."""
        if kind is None:
            self._applied.clear()
        else:
            self._applied.pop((kind, name), None)

    async def ensure(self, pool: ModelPool, pods: int) -> bool:
        """Apply what differs from what was applied last; False where something was refused or unanswered."""
        try:
            self.keys = await self._keys(pool)
        except LarderError as error:
            self.refused = f"Secret {names.keys_name(pool.meta.name)}: {error}"
            return False
        refused = [await self._apply(manifest) for manifest in children(pool, self.platform, self.keys, pods)]
        self.refused = next((text for text in refused if text), "")
        return not self.refused

    async def _apply(self, manifest: Manifest) -> str:
        key = (manifest["kind"], manifest["metadata"]["name"])
        content = json.dumps(manifest, sort_keys=True)
        if self._applied.get(key) == content:
            return ""
        try:
            self.check()
            await self.objects.apply(manifest)
        except LarderError as error:
            log.warning("%s %s: %s", *key, error)
            return f"{key[0]} {key[1]}: {error}"
        self._applied[key] = content
        return ""

    async def _keys(self, pool: ModelPool) -> Keys:
        """Return the pool's keys, made once: pods carry them."""
        target = (pool.meta.namespace, names.keys_name(pool.meta.name))
        fresh = Keys(self.make_key(), self.make_key())
        try:
            found = _data(await self.objects.get(SECRETS, *target))
        except KubernetesError as error:
            if error.status != 404:
                raise
            self.check()
            await self.objects.create(keys_secret(pool, fresh))
            return fresh
        keys = Keys(
            found.get(names.TRITON_ADMIN_KEY) or fresh.admin_key,
            found.get(names.DEMAND_TOKEN_KEY) or fresh.demand_token,
        )
        if fresh.admin_key == keys.admin_key or fresh.demand_token == keys.demand_token:
            self.check()
            body = {"stringData": keys_secret(pool, keys)["stringData"]}
            await self.objects.patch(SECRETS, target, body, MERGE_PATCH)
        return keys


def _data(secret: Manifest) -> dict[str, Any]:
    encoded = secret.get("data") or {}
    return {name: base64.b64decode(value).decode() for name, value in encoded.items()}
