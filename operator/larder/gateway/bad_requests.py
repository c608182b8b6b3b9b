"""Keeps requests that are no HTTP, which anybody may send, out of the log: the server tells each with a traceback."""

import logging

from aiohttp.http_exceptions import HttpProcessingError


def keep_out_of_the_log() -> None:
    """Install the filter."""
    logging.getLogger("aiohttp.server").addFilter(_tells_of_us)


def _tells_of_us(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)
