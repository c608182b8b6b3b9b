"""The load: every request is sent when the trace says, whatever became of those before. Nothing is sent twice."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from e2e.churn.clients import Client
from e2e.churn.outcome import Outcome, Verdict
from larder.core.simulation.workload import Workload


@dataclass(frozen=True, slots=True)
class Played:
    """A request of the trace, by the number of its model, and what came of it. `latency` is from when it was due."""

    model: int
    due_seconds: float
    late_seconds: float
    latency_seconds: float
    is_cold: bool
    is_right: bool
    load: str = ""


async def play(workload: Workload, clients: Sequence[Client], told: Callable[[Played, Outcome], None]) -> float:
    """Send the whole workload over the clients in turn; return when it began, in Unix seconds."""
    times, models = workload.merged()
    began, began_unix = time.monotonic(), time.time()
    async with asyncio.TaskGroup() as group:
        for number, (due, model) in enumerate(zip(times.tolist(), models.tolist(), strict=True)):
            await asyncio.sleep(began + due - time.monotonic())
            late = time.monotonic() - began - due
            client = clients[number % len(clients)]
            group.create_task(_ask(client, workload.names[model], number, _teller((model, due, late), told)))
        # What the trace's end brought about is seen to its end as well.
        await asyncio.sleep(began + workload.duration_seconds - time.monotonic())
    return began_unix


async def _ask(client: Client, model: str, number: int, tell: Callable[[Outcome], None]) -> None:
    tell(await client.ask(model, number))


def _teller(at: tuple[int, float, float], told: Callable[[Played, Outcome], None]) -> Callable[[Outcome], None]:
    return lambda outcome: told(_played(at, outcome), outcome)


def _played(at: tuple[int, float, float], outcome: Outcome) -> Played:
    model, due, late = at
    return Played(
        model,
        due,
        late,
        max(0.0, late) + outcome.latency_seconds,
        outcome.is_cold,
        outcome.verdict is Verdict.RIGHT,
        "" if outcome.answer is None else outcome.answer.load,
    )
