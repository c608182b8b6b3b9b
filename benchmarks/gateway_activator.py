"""A gateway's real activator on a pool that a file describes: run by the gateway's benchmarks as a process."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from larder.adapters.kube.resources import MODELS, Resource
from larder.api import names
from larder.api.residency import Residency, Resident, encode
from larder.api.resources import Manifest
from larder.gateway.activator import Activator
from larder.gateway.settings import Settings

CONTAINER: Final = "containerd://bench"
OBJECTIVE: Final = {"latency": "100ms", "coldStart": "10s"}


class Fixed:
    """An API server whose objects never change."""

    def __init__(self, world: Mapping[str, Any]) -> None:
        self._models = [_model(name) for name in world["models"]]
        self._pods = [_pod(number, ip, models) for number, (ip, models) in enumerate(world["pods"].items())]

    async def pages(
        self, resource: Resource, namespace: str | None, selectors: Mapping[str, str]
    ) -> AsyncIterator[tuple[list[Manifest], str]]:
        """Yield all objects of a kind in one page."""
        yield (self._models if resource is MODELS else self._pods), "1"

    def watch(
        self, resource: Resource, namespace: str | None, selectors: Mapping[str, str], version: str
    ) -> AbstractAsyncContextManager[AsyncIterator[Manifest]]:
        """Yield nothing, for ever."""
        return _silence()


@asynccontextmanager
async def _silence() -> AsyncIterator[AsyncIterator[Manifest]]:
    async def events() -> AsyncIterator[Manifest]:
        await asyncio.Event().wait()
        yield {}

    yield events()


def _model(name: str) -> Manifest:
    meta = {"name": name, "namespace": "bench", "uid": name, "resourceVersion": "1"}
    return {"kind": "Model", "metadata": meta, "spec": {"pool": "pool", "slo": OBJECTIVE}}


def _pod(number: int, ip: str, models: list[str]) -> Manifest:
    record = Residency(CONTAINER, 1, 1, {name: Resident() for name in models})
    running = {"name": names.TRITON, "ready": True, "containerID": CONTAINER, "state": {"running": {}}}
    meta = {"name": f"pod-{number}", "namespace": "bench", "uid": f"pod-at-{ip}", "resourceVersion": "1"}
    return {
        "kind": "Pod",
        "metadata": {**meta, "annotations": {names.RESIDENCY_ANNOTATION: encode(record)}},
        "status": {"podIP": ip, "phase": "Running", "containerStatuses": [running]},
    }


async def main(world: Mapping[str, Any]) -> None:
    """Run until SIGTERM, and end without draining."""
    settings = Settings(
        pool="pool",
        namespace="bench",
        run_dir=Path(world["run_dir"]),
        bind_address=world["bind_address"],
        demand_token=world["token"],
        **world["limits"],
    )
    running = asyncio.ensure_future(Activator(settings).run(Fixed(world), asyncio.Event()))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    await asyncio.wait([running])


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
