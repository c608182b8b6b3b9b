"""Envoy's admin interface over its Unix socket: whether it is live, the metrics text, and draining."""

import re
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiohttp

from larder.errors import UnavailableError

TIMEOUT_SECONDS: Final = 5.0
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

    async def is_live(self) -> bool:
        """Return whether Envoy takes requests."""
        try:
            return "LIVE" in await self._get("/ready")
        except UnavailableError:
            return False

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
