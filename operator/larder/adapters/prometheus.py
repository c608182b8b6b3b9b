"""Prometheus from the event loop: short answers by a thread, a history by a process; both bounded in time."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from larder.adapters import prometheus_reads as reads
from larder.adapters.prometheus_reads import History, Reader, Source
from larder.api.conditions import ConditionReason
from larder.errors import MetricsError

HISTORY_SECONDS: Final = 120.0
MARGIN_SECONDS: Final = 2.0
THREADS: Final = 2


class Prometheus:
    """One Prometheus for all pools. Few threads and one process at a time: a server that hangs takes no more."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._threads = ThreadPoolExecutor(THREADS, "prometheus")
        self._one_history = asyncio.Semaphore(1)

    async def age_seconds(self, namespace: str, pool: str) -> float:
        """How old its newest count of the pool is, by its own clock. Raises MetricsError."""
        reader, bound = Reader(self._source, namespace, pool), self._source.timeout_seconds + MARGIN_SECONDS
        try:
            async with asyncio.timeout(bound):
                return await asyncio.get_running_loop().run_in_executor(self._threads, reader.age_seconds)
        except TimeoutError as error:
            text = f"{self._source.url} did not answer within {bound:g} s"
            raise MetricsError(ConditionReason.TIMED_OUT, text) from error

    async def history(self, namespace: str, pool: str, minutes: int) -> History:
        """The pool's counts over the last so many minutes. Raises MetricsError."""
        async with self._one_history:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", reads.__name__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            try:
                async with asyncio.timeout(HISTORY_SECONDS):
                    answer, _ = await process.communicate(reads.request(self._source, namespace, pool, minutes))
            except TimeoutError as error:
                text = f"{self._source.url} did not tell the last {minutes} minutes within {HISTORY_SECONDS:g} s"
                raise MetricsError(ConditionReason.TIMED_OUT, text) from error
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        return reads.decode(answer)
