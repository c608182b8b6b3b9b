"""What a change of placements costs a gateway of a very large pool: 10,000 models on 200 pods, ten changes a second.

The pods are addresses of one Envoy that answers with the address that was asked. A change moves one model to another
pod: it is told to the gateway as the operator tells it, and has taken effect when an answer comes from the new pod.
Meanwhile clients ask for one hot model at a fixed rate; windows with and without changes take turns, and what changes
add is the difference between them.
"""

import asyncio
import contextlib
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import numpy as np

from benchmarks import gateway_parts as parts
from benchmarks.gateway_activator import CONTAINER
from larder.api.demand import PATH, Hint, encode_message
from larder.api.residency import Residency, Resident
from larder.errors import UnavailableError

MODELS: Final = 10_000
PODS: Final = 200
CHANGES_PER_SECOND: Final = 10
WINDOW_SECONDS: Final = 10.0
HOT: Final = "hot"
HOT_PER_SECOND: Final = 200
ASK_AGAIN_SECONDS: Final = 0.001
LONGEST_EFFECT_SECONDS: Final = 10.0


@dataclass(slots=True)
class Placements:
    """Which pod has which models; `generation` of a pod grows with each change."""

    by_pod: dict[str, set[str]]
    generations: dict[str, int] = field(default_factory=dict)

    def move(self, model: str, source: str, target: str) -> list[Hint]:
        """Move a model and return what the operator says then."""
        self.by_pod[source].discard(model)
        self.by_pod[target].add(model)
        return [self._hint(target), self._hint(source)]

    def _hint(self, ip: str) -> Hint:
        self.generations[ip] = self.generations.get(ip, 1) + 1
        models = {name: Resident() for name in self.by_pod[ip]}
        return Hint(uid(ip), Residency(CONTAINER, 1, self.generations[ip], models))


@dataclass(frozen=True, slots=True)
class Window:
    """What one window saw: latencies of the hot model and effects of changes in ms, CPU of the gateway in cores."""

    hot_ms: list[float]
    effects_ms: list[float]
    cores: float


def address(number: int) -> str:
    """Return the address of a pod."""
    return f"127.88.{number // 250}.{number % 250 + 2}"


def uid(ip: str) -> str:
    """Return the uid of the pod at an address."""
    return f"pod-at-{ip}"


def measure(windows: int, models: int = MODELS, pods: int = PODS) -> str:
    """Run pairs of windows and return the line of results."""
    ips = [address(number) for number in range(pods)]
    names = [HOT, *(f"model-{number:05}" for number in range(models - 1))]
    by_pod = {ip: set(names[number::pods]) for number, ip in enumerate(ips)}
    world = {"models": names, "pods": {ip: sorted(found) for ip, found in by_pod.items()}}
    with tempfile.TemporaryDirectory(prefix="larder-bench-") as name, endpoints(Path(name), ips):
        settings = parts.pool_settings(Path(name))
        with parts.pool(settings, world, Path(name)) as processes:
            found = asyncio.run(_alternate(Placements(by_pod), processes, windows))
            resident = sum(process.resident_bytes() for process in processes)
    return summary(found, models, pods, resident)


def summary(found: list[tuple[Window, Window]], models: int, pods: int, resident_bytes: int) -> str:
    """Return the line: medians over pairs of windows, the effect over all changes."""
    added = [np.percentile(busy.hot_ms, 99) - np.percentile(quiet.hot_ms, 99) for quiet, busy in found]
    cores = [busy.cores - quiet.cores for quiet, busy in found]
    effects = [effect for _, busy in found for effect in busy.effects_ms]
    return (
        f"gateway-scale: models={models} pods={pods} effect_p99_ms={np.percentile(effects, 99):.1f} "
        f"hot_p99_added_ms={statistics.median(added):.2f} cores={statistics.median(cores):.3f} "
        f"rss_mb={resident_bytes / 1e6:.0f}"
    )


@contextlib.contextmanager
def endpoints(folder: Path, ips: list[str]) -> Iterator[None]:
    """Run the pods: one Envoy that listens on all their addresses."""
    manager_type = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    host = {
        "name": "all",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
        "response_headers_to_add": [{"header": {"key": "x-pod", "value": "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%"}}],
    }
    manager = {
        "@type": f"type.googleapis.com/{manager_type}",
        "stat_prefix": "pods",
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    first, *others = ({"address": {"socket_address": {"address": ip, "port_value": 8000}}} for ip in ips)
    listener: dict[str, Any] = {
        "name": "pods",
        **first,
        "additional_addresses": others,
        "filter_chains": [{"filters": filters}],
    }
    with parts.envoy_server({"static_resources": {"listeners": [listener]}}, folder, "pods") as server:
        parts.until_answered(f"http://{ips[-1]}:8000/", server, folder / "pods.log")
        yield


async def _alternate(
    placements: Placements, processes: tuple[parts.Process, ...], windows: int
) -> list[tuple[Window, Window]]:
    found = []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LONGEST_EFFECT_SECONDS)) as session:
        headers = {"Authorization": f"Bearer {parts.TOKEN}"}
        async with session.ws_connect(f"http://{parts.POOL}:9103{PATH}", headers=headers) as socket:
            reading = asyncio.create_task(_drop(socket))
            for _ in range(windows):
                quiet = await _window(session, None, placements, processes)
                found.append((quiet, await _window(session, socket, placements, processes)))
            reading.cancel()
    return found


async def _drop(socket: aiohttp.ClientWebSocketResponse) -> None:
    async for _ in socket:
        pass


async def _window(
    session: aiohttp.ClientSession,
    socket: aiohttp.ClientWebSocketResponse | None,
    placements: Placements,
    processes: tuple[parts.Process, ...],
) -> Window:
    used, began = sum(process.cpu_seconds() for process in processes), time.monotonic()
    hot = asyncio.create_task(_ask_hot(session))
    effects_ms = [] if socket is None else await _change(session, socket, placements)
    hot_ms = await hot
    cores = (sum(process.cpu_seconds() for process in processes) - used) / (time.monotonic() - began)
    return Window(hot_ms, effects_ms, cores)


async def _ticks(per_second: float) -> AsyncIterator[float]:
    began = time.monotonic()
    for number in range(round(WINDOW_SECONDS * per_second)):
        due = began + number / per_second
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        yield due


async def _ask_hot(session: aiohttp.ClientSession) -> list[float]:
    found = []
    async for _ in _ticks(HOT_PER_SECOND):
        began = time.monotonic()
        await _ask(session, HOT)
        found.append((time.monotonic() - began) * 1000)
    return found


async def _change(
    session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse, placements: Placements
) -> list[float]:
    chosen, pods = random.Random(1), sorted(placements.by_pod)  # noqa: S311 (a choice of models, nothing secret)
    effects: list[asyncio.Task[float]] = []
    async for _ in _ticks(CHANGES_PER_SECOND):
        source = chosen.choice([ip for ip in pods if placements.by_pod[ip] - {HOT}])
        target = chosen.choice([ip for ip in pods if ip != source])
        model = chosen.choice(sorted(placements.by_pod[source] - {HOT}))
        began = time.monotonic()
        for hint in placements.move(model, source, target):
            await socket.send_str(encode_message(hint))
        effects.append(asyncio.create_task(_effect_ms(session, model, target, began)))
    return list(await asyncio.gather(*effects))


async def _effect_ms(session: aiohttp.ClientSession, model: str, target: str, began: float) -> float:
    while time.monotonic() - began < LONGEST_EFFECT_SECONDS:
        if await _ask(session, model) == target:
            return (time.monotonic() - began) * 1000
        await asyncio.sleep(ASK_AGAIN_SECONDS)
    raise UnavailableError(f"{model} is still not asked at {target}")


async def _ask(session: aiohttp.ClientSession, model: str) -> str:
    async with session.get(f"http://{parts.POOL}:8000/v2/models/{model}/stats") as response:
        await response.read()
        if response.status != 200:
            raise UnavailableError(f"{model}: {response.status}")
        return response.headers["x-pod"]
