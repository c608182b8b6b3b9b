"""A kept copy of all objects of one kind: a paged list, then a watch, for as long as it runs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from larder.adapters.kube.resources import Resource
from larder.api.resources import Manifest
from larder.errors import KubernetesError, UnavailableError

log = logging.getLogger(__name__)

T = TypeVar("T")
Key = tuple[str, str]
"""Namespace and name."""

FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 10.0
BATCH: Final = 20
"""Objects parsed before others on the event loop have their turn."""


class Source(Protocol):
    """Where objects are listed and watched."""

    def pages(
        self, resource: Resource, namespace: str | None, selectors: Mapping[str, str]
    ) -> AsyncIterator[tuple[list[Manifest], str]]:
        """Yield all objects page by page, each with the version to watch from."""

    def watch(
        self, resource: Resource, namespace: str | None, selectors: Mapping[str, str], version: str
    ) -> AbstractAsyncContextManager[AsyncIterator[Manifest]]:
        """Yield events after a version."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which objects: of one namespace (None: all), with these labels."""

    resource: Resource
    namespace: str | None = None
    labels: str = ""

    @property
    def selectors(self) -> dict[str, str]:
        """As query parameters."""
        return {"labelSelector": self.labels} if self.labels else {}


@dataclass(slots=True)
class Informer(Generic[T]):
    """`items` is what the API server holds, a moment late; `changed` is called for every difference.

    `parse` must not raise. `jitter` returns a number in [0, 1) that spreads the retries of many processes.
    """

    source: Source
    scope: Scope
    parse: Callable[[Manifest], T]
    changed: Callable[[Key, T | None], None]
    jitter: Callable[[], float]
    items: dict[Key, T] = field(default_factory=dict)
    synced: asyncio.Event = field(default_factory=asyncio.Event)
    _version: str | None = None
    _failures: int = 0

    async def run(self) -> None:
        """List and watch until cancelled. While the API server is away, what was last known stays."""
        while True:
            try:
                if self._version is None:
                    await self._relist()
                await self._follow()
            except KubernetesError as error:
                await self._recover(error)
            except UnavailableError as error:
                await self._pause(error)

    async def _recover(self, error: KubernetesError) -> None:
        if error.status == 410:
            log.info("%s: the watch is too old; listing again", self.scope.resource.plural)
        self._version = None
        await self._pause(error)

    async def _pause(self, error: Exception) -> None:
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(self._failures, 10))
        self._failures += 1
        log.log(logging.WARNING if self._failures > 2 else logging.INFO, "%s: %s", self.scope.resource.plural, error)
        await asyncio.sleep(pause * (0.5 + self.jitter() / 2))

    async def _relist(self) -> None:
        """Each page is parsed as it comes: of thousands of objects only what is made of them is kept."""
        scope, version = self.scope, ""
        present: set[Key] = set()
        async for page, at in self.source.pages(scope.resource, scope.namespace, scope.selectors):
            version = at
            for number, manifest in enumerate(page):
                if number % BATCH == BATCH - 1:
                    await asyncio.sleep(0)
                present.add(key := _key(manifest))
                self._put(key, manifest)
        for key in [key for key in self.items if key not in present]:
            self._remove(key)
        self._version = version
        self.synced.set()

    async def _follow(self) -> None:
        scope, told = self.scope, False
        assert self._version is not None
        async with self.source.watch(scope.resource, scope.namespace, scope.selectors, self._version) as events:
            async for event in events:
                self._failures, told = 0, True
                self._take(event)
        if not told:
            # A server that is about to end takes watches and ends them at once.
            raise UnavailableError("the watch ended without a word")

    def _take(self, event: Manifest) -> None:
        manifest = event["object"]
        if event["type"] == "DELETED":
            self._remove(_key(manifest))
        elif event["type"] in ("ADDED", "MODIFIED"):
            self._put(_key(manifest), manifest)
        self._version = manifest["metadata"]["resourceVersion"]

    def _put(self, key: Key, manifest: Manifest) -> None:
        item = self.parse(manifest)
        if self.items.get(key) != item:
            self.items[key] = item
            self.changed(key, item)

    def _remove(self, key: Key) -> None:
        if self.items.pop(key, None) is not None:
            self.changed(key, None)


def _key(manifest: Manifest) -> Key:
    meta = manifest["metadata"]
    return (meta["namespace"], meta["name"])
