"""Envoy's admin interface over its Unix socket: counters of hot requests, the metrics text, and draining."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiohttp

from larder.errors import UnavailableError
from larder.gateway.envoy import REQUESTS_METRIC

TIMEOUT_SECONDS: Final = 5.0
_MODEL: Final = re.compile(r'[{,](?:envoy_)?model="((?:[^"\\]|\\.)*)"')
_ACTIVE: Final = re.compile(r"^http\.(?:http|grpc)\.downstream_rq_active: (\d+)$", re.M)


class EnvoyAdmin:
    """Raises UnavailableError when Envoy does not answer."""

    def __init__(self, path: Path) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(path)), timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def hot_requests(self) -> dict[str, int]:
        """Return the answers of Triton pods so far, by model, since Envoy started."""
        text = await self._get(f"/stats/prometheus?usedonly&filter={REQUESTS_METRIC}")
        return count_by_model(text)

    async def metrics(self) -> str:
        """Return Envoy's metrics in Prometheus' text format."""
        return await self._get("/stats/prometheus?usedonly")

    async def active_requests(self) -> int:
        """Return the requests of clients that are in flight now."""
        text = await self._get("/stats?filter=downstream_rq_active$")
        return sum(int(count) for count in _ACTIVE.findall(text))

    async def announce_end(self) -> None:
        """From now on answers end their connections: `Connection: close`, GOAWAY."""
        await self._ask("POST", "/healthcheck/fail")

    async def _get(self, path: str) -> str:
        return await self._ask("GET", path)

    async def _ask(self, method: str, path: str) -> str:
        try:
            async with self._session.request(method, f"http://envoy{path}") as response:
                if response.status != 200:
                    raise UnavailableError(f"Envoy answered {response.status} to {path}")
                return await response.text()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise UnavailableError(f"Envoy did not answer {path}: {error}") from error


def count_by_model(text: str) -> dict[str, int]:
    """Add up the counter of hot requests by its label `model`."""
    totals: dict[str, int] = {}
    for line in text.splitlines():
        if REQUESTS_METRIC not in line or line.startswith("#"):
            continue
        found = _MODEL.search(line)
        if found:
            name = _unescape(found[1])
            totals[name] = totals.get(name, 0) + int(float(line.rpartition(" ")[2]))
    return totals


def without_undeclared(text: str, declared: Collection[str]) -> str:
    """Drop the series of models that are not declared any more; Envoy itself keeps them until it restarts."""
    kept = [line for line in text.splitlines() if REQUESTS_METRIC not in line or _is_declared(line, declared)]
    return "\n".join(kept) + "\n"


def _is_declared(line: str, declared: Collection[str]) -> bool:
    found = _MODEL.search(line)
    return found is None or _unescape(found[1]) in declared


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], text)


def growth(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Return what was added by model; a counter that shrank began again at 0."""
    grown = {
        name: count - before.get(name, 0) if count >= before.get(name, 0) else count for name, count in after.items()
    }
    return {name: count for name, count in grown.items() if count}
