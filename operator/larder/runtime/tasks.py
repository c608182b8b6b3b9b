"""Tasks with an owner: what a pool has under way, ended together with it."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from larder.errors import LarderError
from larder.runtime.leadership import NotLeadingError

log = logging.getLogger(__name__)


class Tasks:
    """Owns tasks. An error of the outside world ends one task; any other error is kept in `broken` for the owner."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task; it is cancelled with the others unless its caller cancels it before."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def close(self) -> None:
        """Cancel all and wait for their end."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.broken.cancel()

    async def settle(self, prefix: str, timeout_seconds: float) -> None:
        """Wait a while for the end of the tasks whose names begin so."""
        tasks = [task for task in self._tasks if task.get_name().startswith(prefix)]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_seconds)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        if isinstance(error, NotLeadingError):
            log.info("%s stops: %s", task.get_name(), error)
        elif isinstance(error, LarderError):
            log.warning("%s: %s", task.get_name(), error)
        elif not self.broken.done():
            self.broken.set_exception(error)
