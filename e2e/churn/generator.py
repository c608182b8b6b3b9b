"""The load: clients that ask one after the other at a common pace, as long as a phase lasts."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from e2e.churn.clients import Client
from e2e.churn.outcome import Outcome
from e2e.churn.popularity import Popularity

FAILURE_PAUSE_SECONDS: Final = 0.5
"""After a failure a client waits, so that one that is refused at once does not fill the table."""


class Pace:
    """Turns at equal distances; None: at once. Whoever is late does not catch up."""

    def __init__(self, per_second: float | None) -> None:
        self._distance_seconds = 1 / per_second if per_second else 0.0
        self._next_at_seconds = 0.0

    def delay_seconds(self, now_seconds: float) -> float:
        """Take the next turn and return how far it is off."""
        turn = max(self._next_at_seconds, now_seconds)
        self._next_at_seconds = turn + self._distance_seconds
        return turn - now_seconds


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked in a phase, and whom it is told."""

    pace: Pace
    free_clients: int
    is_over: Callable[[], bool]
    told: Callable[[Outcome], None]


class Generator:
    """Clients, and the numbers of their requests over all phases."""

    def __init__(self, clients: Sequence[Client], popularity: Popularity, first_number: int) -> None:
        self._clients = clients
        self._popularity = popularity
        self._number = first_number

    async def run(self, load: Load) -> None:
        """Ask until the phase is over and every request has its answer or failed."""
        async with asyncio.TaskGroup() as group:
            for index, client in enumerate(self._clients):
                group.create_task(self._work(client, load, free=index < load.free_clients))

    async def _work(self, client: Client, load: Load, *, free: bool) -> None:
        while not load.is_over():
            await asyncio.sleep(load.pace.delay_seconds(time.monotonic()))
            number, self._number = self._number, self._number + 1
            outcome = await client.ask(self._popularity.draw(number, free=free), number)
            load.told(outcome)
            if outcome.answer is None:
                await asyncio.sleep(FAILURE_PAUSE_SECONDS)
