"""One run on the cluster: the pool is made, the trace is played against it, and what was seen is gathered."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import tritonclient.http.aio

from e2e.churn.clients import GRPC, HTTP, Client, TritonClient
from e2e.churn.outcome import Outcome
from e2e.reach import reach
from e2e.replay.excerpt import Excerpt
from e2e.replay.playing import Played, play
from e2e.replay.watching import Sample, pod_seconds, stop_seconds, watching
from e2e.tests.stage import POOL, Stage
from larder.api.quantities import parse_bytes
from larder.errors import UnavailableError

CLIENTS: Final = 8
CONNECTIONS: Final = 64
"""Of one HTTP client; a gRPC one has a single connection for all its requests."""
KNOWN_SECONDS: Final = 60.0
KNOWN_PAUSE_SECONDS: Final = 0.2
KNOWN_TIMES: Final = 8
"""So many answers in a row from whichever gateway the Service picks."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Measures:
    """What a model was measured to take; None: it was never seen to."""

    size_bytes: int | None
    load_seconds: float | None
    execution_seconds: float | None


@dataclass(frozen=True, slots=True)
class Seen:
    """All of a run. Times of samples are seconds since it began."""

    played: tuple[Played, ...]
    samples: tuple[Sample, ...]
    pod_seconds: float
    measures: tuple[Measures, ...]
    start_seconds: float | None
    stop_seconds: float | None


def play_on(stage: Stage, excerpt: Excerpt, say: Say) -> Seen:
    """Play the excerpt against the stage's pool. A request without its right answer is told at once."""
    played: list[Played] = []

    def told(one: Played, outcome: Outcome) -> None:
        played.append(one)
        if not one.is_right:
            say(outcome.describe())

    with reach(stage) as (way, pool), watching(stage.kube) as watch:
        say(f"{excerpt.workload.requests} requests in {excerpt.workload.duration_seconds:.0f} s, by {way}")
        began = asyncio.run(_play(excerpt, pool.http, pool.grpc, told))
        ended = began + excerpt.workload.duration_seconds
    lived = pod_seconds(watch.samples, began, ended)
    status = (stage.kube.get("ModelPool", POOL) or {}).get("status") or {}
    return Seen(
        played=tuple(played),
        samples=_since(watch.samples, began, ended),
        pod_seconds=lived,
        measures=measured(stage, excerpt),
        start_seconds=_start(status),
        stop_seconds=stop_seconds(watch.samples),
    )


async def _play(excerpt: Excerpt, http: str, grpc: str, told: Callable[[Played, Outcome], None]) -> float:
    await _until_known(http, excerpt.workload.names)
    async with _clients(http, grpc) as made:
        return await play(excerpt.workload, made, told)


def _since(samples: Sequence[Sample], began: float, ended: float) -> tuple[Sample, ...]:
    return tuple(replace(s, at_seconds=s.at_seconds - began) for s in samples if began <= s.at_seconds <= ended)


def _start(status: dict[str, object]) -> float | None:
    told = status.get("podStartSeconds")
    return float(told) if isinstance(told, int | float) else None


def measured(stage: Stage, excerpt: Excerpt) -> tuple[Measures, ...]:
    """Return what the operator measured, by its Models' statuses."""
    found = {model["metadata"]["name"]: model.get("status") or {} for model in stage.kube.all("Model")}
    return tuple(_measures(found.get(name, {})) for name in excerpt.workload.names)


def _measures(status: dict[str, str | float]) -> Measures:
    size, load, execution = (status.get(key) for key in ("memory", "loadSeconds", "executionSeconds"))
    return Measures(
        None if size is None else parse_bytes("status.memory", size),
        None if load is None else float(load),
        None if execution is None else float(execution),
    )


async def _until_known(http: str, names: Sequence[str]) -> None:
    """Wait until the gateways list all models. Raises UnavailableError where they do not soon."""
    deadline, good = time.monotonic() + KNOWN_SECONDS, 0
    async with tritonclient.http.aio.InferenceServerClient(http) as client:
        while good < KNOWN_TIMES:
            listed = {entry["name"] for entry in await client.get_model_repository_index()}
            good = good + 1 if listed.issuperset(names) else 0
            if time.monotonic() > deadline:
                raise UnavailableError(f"the pool does not list all of its models: {len(listed)} of {len(names)}")
            await asyncio.sleep(KNOWN_PAUSE_SECONDS)


@contextlib.asynccontextmanager
async def _clients(http: str, grpc: str) -> AsyncIterator[Sequence[Client]]:
    """Yield unmodified tritonclients, HTTP and gRPC in turn, that try nothing twice."""
    async with contextlib.AsyncExitStack() as stack:
        made: list[Client] = []
        for index in range(CLIENTS):
            protocol, address = ((HTTP, http), (GRPC, grpc))[index % 2]
            made.append(TritonClient(protocol, address, CONNECTIONS))
            stack.push_async_callback(made[-1].close)
        yield made
