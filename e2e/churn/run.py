"""One run: phase after phase, requests on one side and the event on the other."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from e2e.churn import clients, events
from e2e.churn.clients import Client, TritonClient
from e2e.churn.generator import Generator, Load, Pace
from e2e.churn.ledger import Ledger
from e2e.churn.outcome import Outcome, Verdict
from e2e.churn.plan import CLIENTS, Phase, Plan
from e2e.churn.popularity import Popularity
from e2e.churn.retries import Retries
from e2e.churn.setting import Scene, names
from e2e.churn.tally import Tally
from e2e.tests.stage import POOL
from larder.api.names import GRPC_PORT, HTTP_PORT
from larder.errors import LarderError, UnavailableError

SCRAPE_SECONDS: Final = 3.0
KNOWN_SECONDS: Final = 60.0
KNOWN_PAUSE_SECONDS: Final = 0.2

Say = Callable[[str], None]


async def run(plan: Plan, scene: Scene, ledger: Ledger, say: Say) -> list[Tally]:
    """Run the phases that are not done yet, keeping each in the ledger, and return all."""
    tallies = ledger.read()
    async with _clients(scene) as made:
        await _until_known(made)
        generator = Generator(made, Popularity(names(), plan.seed), sum(tally.requests for tally in tallies))
        for phase in plan.phases[len(tallies) :]:
            say(f"{phase.event}: at least {phase.requests} requests, about {phase.estimated_seconds:.0f} s")
            tallies.append(await _phase(phase, generator, scene, say))
            ledger.write(tallies)
            say(_ended(tallies[-1]))
    return tallies


def _ended(tally: Tally) -> str:
    figures = f"failed={tally.failed} wrong={tally.wrong} loads={len(tally.loads)}"
    return f"{tally.name}: {tally.requests} requests, {figures}, {tally.seconds:.0f} s"


async def _until_known(made: Sequence[Client]) -> None:
    """Wait until the Service has its rules and the gateways know the last of the models; asked for nobody's account."""
    deadline = time.monotonic() + KNOWN_SECONDS
    for client in made:
        while (outcome := await client.ask(names()[-1], 0)).verdict is not Verdict.RIGHT:
            if time.monotonic() > deadline:
                raise UnavailableError(f"the pool does not serve its models: {outcome.describe()}")
            await asyncio.sleep(KNOWN_PAUSE_SECONDS)


async def _phase(phase: Phase, generator: Generator, scene: Scene, say: Say) -> Tally:
    tally = Tally(str(phase.event))
    began = time.monotonic()
    retries = Retries(scene.kube)
    before = await asyncio.to_thread(retries.total)
    event = asyncio.create_task(asyncio.to_thread(_happen, phase, scene))
    scraping = asyncio.create_task(_scrape(retries))

    def told(outcome: Outcome) -> None:
        tally.add(outcome)
        if outcome.verdict is not Verdict.RIGHT:
            say(outcome.describe())

    load = Load(
        Pace(phase.per_second), phase.free_clients, lambda: event.done() and tally.requests >= phase.requests, told
    )
    try:
        await generator.run(load)
        tally.trouble = await event
    finally:
        scraping.cancel()
    tally.retried = await asyncio.to_thread(retries.total) - before
    tally.seconds = time.monotonic() - began
    if tally.trouble:
        say(f"{phase.event}: {tally.trouble}")
    return tally


def _happen(phase: Phase, scene: Scene) -> str:
    """Bring the event about as often as planned, and return what went wrong with it."""
    happening = events.HAPPENINGS[phase.event]
    try:
        for _ in range(phase.times):
            happening(scene, phase.away_seconds)
            time.sleep(events.BREATH_SECONDS)
    except LarderError as error:
        return str(error)
    return ""


async def _scrape(retries: Retries) -> None:
    while True:
        await asyncio.sleep(SCRAPE_SECONDS)
        await asyncio.to_thread(retries.total)


@contextlib.asynccontextmanager
async def _clients(scene: Scene) -> AsyncIterator[Sequence[Client]]:
    """Yield CLIENTS clients of the Service's address, HTTP and gRPC in turn."""
    service = await asyncio.to_thread(scene.kube.get, "Service", POOL)
    if service is None:
        raise UnavailableError(f"there is no Service {POOL}")
    address = service["spec"]["clusterIP"]
    protocols = ((clients.HTTP, HTTP_PORT), (clients.GRPC, GRPC_PORT))
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for index in range(CLIENTS):
            protocol, port = protocols[index % len(protocols)]
            made.append(TritonClient(protocol, f"{address}:{port}"))
            stack.push_async_callback(made[-1].close)
        yield made
