"""The page of metrics that a Triton server tells over HTTP. Errors of aiohttp stop here."""

from typing import Final

import aiohttp

from larder.errors import UnavailableError

LOST: Final = (aiohttp.ClientError, OSError, TimeoutError, RuntimeError, ValueError)
"""What reading an answer may raise; aiohttp raises RuntimeError where its session was closed meanwhile."""


async def read_page(session: aiohttp.ClientSession, address: str, timeout_seconds: float) -> str:
    """Return the page of the server at `host:port`. Raises UnavailableError where none comes in time."""
    bound = aiohttp.ClientTimeout(total=timeout_seconds)
    try:
        async with session.get(f"http://{address}/metrics", timeout=bound) as answer:
            page = await answer.text()
    except LOST as error:
        raise UnavailableError(f"the metrics of Triton at {address} can't be read: {error}") from error
    if answer.status != 200:
        raise UnavailableError(f"the metrics of Triton at {address} can't be read: it answers {answer.status}")
    return page
