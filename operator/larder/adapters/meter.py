"""Readings of one pod's memory: from the meter beside Triton, or on a GPU from Triton's own metrics.

Errors of aiohttp stop here. `read` returns what was seen after it was called.
"""

import asyncio
import itertools
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp

from larder.adapters.triton_metrics import LOST, read_page
from larder.api.metering import READ_PATH, STREAM_PATH, ContainerUse, Reading, decode
from larder.errors import InvalidInputError, UnavailableError

CONNECT_SECONDS: Final = 2.0
READ_SECONDS: Final = 2.0
SILENT_SECONDS: Final = 5.0
"""A meter speaks each second; one that is silent for so long is lost."""
MAX_LINE_BYTES: Final = 4 * 1024 * 1024
GPU_INTERVAL_SECONDS: Final = 0.25
"""Triton's --metrics-interval-ms on a GPU: how often it asks the device, and we ask Triton."""

_GPU_MEMORY: Final = re.compile(r"^nv_gpu_memory_used_bytes(?:\{[^}]*\})? ([0-9.eE+]+)\s*$", re.MULTILINE)
_LOST: Final = (*LOST, InvalidInputError)


class PodMeter:
    """The meter beside a Triton server."""

    def __init__(self, session: aiohttp.ClientSession, address: str) -> None:
        self._session = session
        self._address = address

    async def readings(self) -> AsyncIterator[Reading]:
        """Follow the stream. Raises UnavailableError when it ends, is refused or falls silent."""
        bound = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)
        try:
            async with self._session.get(self._url(STREAM_PATH), timeout=bound) as answer:
                self._check(answer)
                async for line in answer.content:
                    yield decode(line.decode())
        except _LOST as error:
            raise UnavailableError(f"the meter at {self._address} is lost: {error}") from error
        raise UnavailableError(f"the meter at {self._address} ended its stream")

    async def read(self) -> Reading:
        """Ask for one reading. Raises UnavailableError where none comes in time."""
        try:
            async with self._session.get(
                self._url(READ_PATH), timeout=aiohttp.ClientTimeout(total=READ_SECONDS)
            ) as answer:
                self._check(answer)
                return decode(await answer.text())
        except _LOST as error:
            raise UnavailableError(f"the meter at {self._address} does not answer: {error}") from error

    def _url(self, path: str) -> str:
        return f"http://{self._address}{path}"

    def _check(self, answer: aiohttp.ClientResponse) -> None:
        if answer.status != 200:
            raise UnavailableError(f"the meter at {self._address} answers {answer.status}")


class GpuMeter:
    """The device's memory as Triton's metrics tell it. What they tell is as old as Triton's own interval."""

    def __init__(self, session: aiohttp.ClientSession, address: str) -> None:
        self._session = session
        self._address = address
        self._numbers = itertools.count()

    async def readings(self) -> AsyncIterator[Reading]:
        """Ask again and again. Raises UnavailableError where Triton does not tell."""
        while True:
            yield await self._ask()
            await asyncio.sleep(GPU_INTERVAL_SECONDS)

    async def read(self) -> Reading:
        """Wait until Triton has asked the device anew, then ask. Raises UnavailableError where it does not tell."""
        await asyncio.sleep(2 * GPU_INTERVAL_SECONDS)
        return await self._ask()

    async def _ask(self) -> Reading:
        number, now = next(self._numbers), time.time()
        page = await read_page(self._session, self._address, READ_SECONDS)
        return Reading(number, now, {"": ContainerUse(gpu_bytes(page, self._address))})


def gpu_bytes(page: str, address: str) -> int:
    """Return the bytes used on all devices that a page of metrics names. Raises UnavailableError if it names none."""
    found = [float(text) for text in _GPU_MEMORY.findall(page)]
    if not found:
        raise UnavailableError(f"Triton at {address} tells no nv_gpu_memory_used_bytes")
    return int(sum(found))


@asynccontextmanager
async def open_meter(address: str, token: str) -> AsyncIterator[PodMeter]:
    """Yield the meter at `host:port`; it is asked when it is used."""
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {token}"}, read_bufsize=MAX_LINE_BYTES
    ) as session:
        yield PodMeter(session, address)


@asynccontextmanager
async def open_gpu_meter(address: str, token: str) -> AsyncIterator[GpuMeter]:
    """Yield the meter of a pod with a GPU, from Triton's metrics at `host:port`; they need no token."""
    del token
    async with aiohttp.ClientSession() as session:
        yield GpuMeter(session, address)
