"""Keeps the gateway's state in step with the pods and Models of its pool, in its own namespace."""

import asyncio
import random
from collections.abc import Callable
from typing import Final

from larder.adapters.kube.informer import Informer, Key, Scope, Source
from larder.adapters.kube.resources import MODELS, PODS
from larder.api import names
from larder.api.quantities import parse_seconds
from larder.api.resources import Manifest
from larder.errors import InvalidInputError
from larder.gateway.routes import Pod, parse_pod
from larder.gateway.settings import Settings
from larder.gateway.state import Declared, State

_JITTER: Final = random.Random()  # noqa: S311 (spreads retries; nothing secret)


def parse_declared(manifest: Manifest, pool: str) -> Declared | None:
    """Return what a Model declares in this pool; None for one of another pool. Total on what the server lets in."""
    spec = manifest.get("spec") or {}
    if spec.get("pool") != pool:
        return None
    name = spec.get("repositoryName") or manifest["metadata"]["name"]
    slo, priority = spec.get("slo") or {}, spec.get("priority")
    return Declared(
        str(name),
        stateful=spec.get("stateful") is True,
        revision=str(spec.get("revision") or ""),
        latency_seconds=_seconds(slo.get("latency")),
        cold_start_seconds=_seconds(slo.get("coldStart")) or 0.0,
        priority=priority if isinstance(priority, int) else 0,
    )


def _seconds(value: object) -> float | None:
    """Parse a duration; what the operator refuses to read counts as no objective here."""
    try:
        return None if value is None else parse_seconds("spec.slo", value)
    except InvalidInputError:
        return None


class Watching:
    """Two informers and the state that they fill; several changes read at once become one."""

    def __init__(self, settings: Settings, state: State, source: Source) -> None:
        labels = f"{names.POOL_LABEL}={settings.pool},{names.COMPONENT_LABEL}={names.TRITON}"
        self._state = state
        self._pods: Informer[Pod] = Informer(
            source,
            Scope(PODS, settings.namespace, labels),
            parse_pod,
            self._soon(self._put_pods),
            _JITTER.random,
        )
        self._models: Informer[Declared | None] = Informer(
            source,
            Scope(MODELS, settings.namespace),
            lambda manifest: parse_declared(manifest, settings.pool),
            self._soon(self._put_models),
            _JITTER.random,
        )

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pods.run())
            group.create_task(self._models.run())
            group.create_task(_once(self._pods.synced, self._put_pods))
            group.create_task(_once(self._models.synced, self._put_models))

    def _soon(self, put: Callable[[], None]) -> Callable[[Key, object], None]:
        scheduled = False

        def run() -> None:
            nonlocal scheduled
            scheduled = False
            put()

        def changed(key: Key, item: object) -> None:
            nonlocal scheduled
            if not scheduled:
                scheduled = True
                asyncio.get_running_loop().call_soon(run)

        return changed

    def _put_pods(self) -> None:
        if self._pods.synced.is_set():
            self._state.put_pods({pod.uid: pod for pod in self._pods.items.values()})

    def _put_models(self) -> None:
        if self._models.synced.is_set():
            self._state.put_models(model for model in self._models.items.values() if model is not None)


async def _once(synced: asyncio.Event, put: Callable[[], None]) -> None:
    """A list that turns out empty changes nothing, but it is complete then."""
    await synced.wait()
    put()
