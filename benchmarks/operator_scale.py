"""The operator with 10,000 Models on 100 pods: its memory, start, API writes, and how fast it decides.

The API server, its etcd, the controllers and the scheduler are real; kwok plays nodes and pods, and one process of
this benchmark Triton, the meters and the gateways at the addresses of the pods (see `scale_machine`, `scale_fakes`).
All of it runs in a network namespace of its own, beside whatever cluster is up.

A first operator makes the pool's pods, finds their models loaded and writes the first status of every Model. Then a
new one is started and measured: until it has planned with every pod; for a minute in which models are used and none
changes its place; and while cold requests come one after the other and full plans run without a pause.
"""

import asyncio
import contextlib
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import click
import numpy as np

from benchmarks import scale_machine as machines
from benchmarks.scale_counts import DECISION, PLAN, Audit, Figures, Times, spelled, times, without_leases
from benchmarks.scale_fakes import READY, Fleet, Gateways, Repository
from e2e import trial
from e2e.cluster import binaries
from e2e.cluster.progress import Progress
from e2e.cluster.settings import Settings, from_environment
from larder.adapters.kube.client import KubeClient, connect
from larder.api import names

MIB: Final = 2**20
MODEL_BYTES: Final = 100 * MIB
SERVER_BYTES: Final = 100 * MIB
BUDGET_BYTES: Final = 2300 * MIB
MODELS_A_POD: Final = 20
"""So many fit below the high mark of the budget."""
SPARE_ADDRESSES: Final = 20
HOT_EVERY: Final = 10
"""One loaded model of so many is used all the time."""
POOL, NAMESPACE = "scale", "default"
METRICS: Final = "http://127.0.0.1:9101/metrics"
CREATED_AT_ONCE: Final = 16
LONGEST_SECONDS: Final = 600.0
QUIET_SECONDS: Final = 5.0
"""So long without a write, the Lease's aside, everything has been said."""
NUDGE_SECONDS: Final = 0.01
COLD_PAUSE_SECONDS: Final = 0.1
MOST_AT_ONCE: Final = 5


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything."""

    models: int = 10_000
    pods: int = 100
    loaded: int = 18
    """Models on each pod from the beginning."""
    idle_seconds: float = 60.0
    evictions: int = 60

    @property
    def names(self) -> tuple[str, ...]:
        """The models."""
        return tuple(f"model-{number:05}" for number in range(self.models))

    @property
    def free(self) -> int:
        """Models that fit on the pods beside those that are loaded."""
        return self.pods * (MODELS_A_POD - self.loaded)


FULL: Final = Size()
SHORT: Final = Size(models=1_000, pods=10, loaded=16, idle_seconds=10.0, evictions=10)


@dataclass(slots=True)
class Stage:
    """What one run has to do with."""

    size: Size
    machine: machines.Machine
    client: KubeClient
    fleet: Fleet
    gateways: Gateways
    audit: Audit

    async def metrics(self, name: str) -> Times:
        """What the operator's histogram of this name has so far; nothing while it does not answer."""
        try:
            async with aiohttp.ClientSession() as session, session.get(METRICS) as answer:
                answer.raise_for_status()
                return times(await answer.text(), name)
        except aiohttp.ClientError:
            return Times(0.0, 0.0)

    async def quiet(self) -> None:
        """Wait until nothing has been written for a while."""
        async with asyncio.timeout(LONGEST_SECONDS):
            while True:
                now = time.time()
                if not without_leases(self.audit.between(now - QUIET_SECONDS, now)):
                    return
                await asyncio.sleep(0.5)


@click.command(help=__doc__)
@click.option("--short", is_flag=True, help="1,000 models on 10 pods, under a minute.")
@click.option("--inside", type=Path, hidden=True, help="The folder of a run, once in its namespace.")
def main(short: bool, inside: Path | None) -> None:
    """Measure, print the figures, and exit with 1 where a bar is missed."""
    if inside is not None:
        sys.exit(asyncio.run(_measure(SHORT if short else FULL, inside)))
    with Progress() as progress:
        for name in (binaries.CONTROLPLANE, binaries.KWOK):
            binaries.build_one(from_environment(), progress, name)
    with tempfile.TemporaryDirectory(prefix="larder-scale-") as folder, trial.space() as space:
        argv = [
            sys.executable,
            "-m",
            "benchmarks.operator_scale",
            f"--inside={folder}",
            *(["--short"] if short else []),
        ]
        # The clients read which kubeconfig is meant when they are imported.
        environment = {**os.environ, "KUBECONFIG": f"{folder}/admin.kubeconfig", "LARDER_STATE": folder}
        sys.exit(subprocess.run(space.enter(*argv), env=environment, check=False).returncode)


async def _measure(size: Size, folder: Path) -> int:
    with _machine(folder) as machine:
        async with _stage(size, machine) as stage:
            figures = await _story(stage)
    print(figures.line)
    for sentence in figures.missed():
        print(f"missed: {sentence}")
    return bool(figures.missed())


@contextlib.contextmanager
def _machine(folder: Path) -> Iterator[machines.Machine]:
    settings: Settings = from_environment()
    go = binaries.find_go(settings)
    kubernetes, kwok = (binaries.path(settings, go, name) for name in (binaries.CONTROLPLANE, binaries.KWOK))
    with machines.machine(settings, machines.Programs(kubernetes, kwok)) as machine:
        yield machine


@contextlib.asynccontextmanager
async def _stage(size: Size, machine: machines.Machine) -> AsyncIterator[Stage]:
    """Fakes at the addresses that kwok gives out, in order, with models loaded on the first of them."""
    network = machines.POD_NETWORK.rpartition(".0.0/")[0]
    addresses = [f"{network}.{n // 256}.{n % 256}" for n in range(1, size.pods + SPARE_ADDRESSES)]
    fleet = Fleet(Repository(size.names, MODEL_BYTES, SERVER_BYTES), addresses)
    gateways, client, left = Gateways(), await connect(), iter(size.names)
    for triton in fleet.tritons.values():
        triton.states.update(dict.fromkeys(itertools.islice(left, size.loaded), READY))
    gateways.hot = size.names[: size.pods * size.loaded : HOT_EVERY]
    fleet.use(gateways.hot)
    try:
        async with fleet.serving(), gateways.serving():
            yield Stage(size, machine, client, fleet, gateways, Audit(machine.audit))
    finally:
        await client.close()


async def _story(stage: Stage) -> Figures:
    size = stage.size
    await _declare(stage)
    with stage.machine.operator():
        await _all_told(stage)
        await stage.quiet()
    stage.gateways.forget()
    stage.fleet.forget_calls()
    began = time.monotonic()
    with stage.machine.operator() as operator:
        started = await _until_planned(stage, began)
        await stage.quiet()
        idle = await _idle(stage)
        decisions, per_change, plans = await _cold(stage)
        peak_mb = _peak_bytes(operator.pid) / 1e6
    return Figures(
        models=size.models,
        pods=size.pods,
        rss_mb=peak_mb,
        start_seconds=started,
        idle_writes_per_second=idle,
        writes_per_change=per_change,
        cold_decision_p99_ms=float(np.percentile(decisions, 99)) * 1000.0,
        plan_ms=plans.mean_ms,
        longest_plan_seconds=plans.longest_at_most_seconds,
        index_reads=max(stage.fleet.calls("index").values()),
    )


async def _declare(stage: Stage) -> None:
    """The pool and its Models, so many at once."""
    size, began = stage.size, time.monotonic()
    await stage.client.create(_pool(size))
    left = list(size.names)

    async def create() -> None:
        while left:
            await stage.client.create(_model(left.pop()))

    await asyncio.gather(*(create() for _ in range(CREATED_AT_ONCE)))
    print(f"{size.models} Models are declared, in {time.monotonic() - began:.1f} s", flush=True)


def _pool(size: Size) -> dict[str, Any]:
    budget = f"{BUDGET_BYTES // MIB}Mi"
    return {
        "apiVersion": names.API_VERSION,
        "kind": "ModelPool",
        "metadata": {"name": POOL, "namespace": NAMESPACE},
        "spec": {
            "repository": {"volume": {"emptyDir": {}}},
            "memory": {
                "budget": budget,
                "base": f"{SERVER_BYTES // MIB}Mi",
                "defaultModelMemory": f"{MODEL_BYTES // MIB}Mi",
            },
            "pods": {"min": size.pods, "max": size.pods},
        },
    }


def _model(name: str) -> dict[str, Any]:
    return {
        "apiVersion": names.API_VERSION,
        "kind": "Model",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "pool": POOL,
            "memory": f"{MODEL_BYTES // MIB}Mi",
            "slo": {"latency": "200ms", "percentile": 99, "coldStart": "5s"},
        },
    }


async def _all_told(stage: Stage) -> None:
    """Wait until gateways know of every pod and the models that it has."""
    size = stage.size

    def told() -> bool:
        known = stage.gateways.routable.values()
        return len(known) >= size.pods and sum(map(len, known)) >= size.pods * size.loaded

    await stage.gateways.until(told, LONGEST_SECONDS)


async def _until_planned(stage: Stage, began_seconds: float) -> float:
    """Wait for a plan that began when every pod was known; return the seconds since the start."""
    first: float | None = None
    async with asyncio.timeout(LONGEST_SECONDS):
        while not stage.gateways.routable:
            if first is None and (await stage.metrics(PLAN)).count:
                first = time.monotonic() - began_seconds
            await asyncio.sleep(0.02)
        await _all_told(stage)
        known = time.monotonic() - began_seconds
        before = await stage.metrics(PLAN)
        # One may have begun before the last pod was known: the next one did not.
        while (await stage.metrics(PLAN)).count < before.count + 2:
            await stage.gateways.nudge(stage.gateways.hot[0])
            await asyncio.sleep(0.02)
    planned = time.monotonic() - began_seconds
    print(f"the first plan of any kind {_spelled(first)}; every pod known after {known:.1f} s, planned {planned:.1f} s")
    return planned


def _spelled(seconds: float | None) -> str:
    return "came with the first pods" if seconds is None else f"after {seconds:.1f} s"


async def _idle(stage: Stage) -> float:
    """Models are used and none moves; return writes per second."""
    began, calls = time.time(), _changes(stage)
    await asyncio.sleep(stage.size.idle_seconds)
    writes = stage.audit.between(began, time.time())
    print(f"idle for {stage.size.idle_seconds:.0f} s: {spelled(writes)}; {_changes(stage) - calls} changes", flush=True)
    return len(writes) / stage.size.idle_seconds


def _changes(stage: Stage) -> int:
    return (stage.fleet.calls("load") + stage.fleet.calls("unload")).total()


async def _cold(stage: Stage) -> tuple[list[float], float, Times]:
    """Cold requests while plans run without a pause: seconds to each decision, writes per change, the plans."""
    size, resident = stage.size, frozenset[str]().union(*stage.gateways.routable.values())
    cold = [name for name in reversed(size.names) if name not in resident]
    began, changes, before = time.time(), _changes(stage), await stage.metrics(PLAN)
    told = await stage.metrics(DECISION)
    nudging = asyncio.create_task(_without_pause(stage))
    try:
        into_free = await _ask(stage, cold[: size.free], MOST_AT_ONCE)
        for_others = await _ask(stage, cold[size.free : size.free + size.evictions], 1)
    finally:
        nudging.cancel()
        await asyncio.gather(nudging, return_exceptions=True)
    plans, told = (await stage.metrics(PLAN)).since(before), (await stage.metrics(DECISION)).since(told)
    await stage.quiet()
    changed, writes = _changes(stage) - changes, without_leases(stage.audit.between(began, time.time()))
    for what, found in (("into free memory", into_free), ("in place of others", for_others)):
        ms = np.percentile(found, (50, 99, 100)) * 1000.0
        print(f"{len(found)} cold requests {what}: decided in {ms[0]:.1f} ms at p50, {ms[1]:.1f} p99, {ms[2]:.1f} most")
    median, late = told.at_most_seconds(0.5) * 1000.0, told.at_most_seconds(0.99) * 1000.0
    print(f"by the operator's own account within {median:g} ms at p50 and {late:g} ms at p99")
    print(f"{plans.count:.0f} plans meanwhile, none longer than {plans.longest_at_most_seconds:g} s")
    print(f"{changed} changes: {spelled(writes)}", flush=True)
    return into_free + for_others, len(writes) / changed, plans


async def _without_pause(stage: Stage) -> None:
    while True:
        await stage.gateways.nudge(stage.gateways.hot[0])
        await asyncio.sleep(NUDGE_SECONDS)


async def _ask(stage: Stage, models: list[str], at_once: int) -> list[float]:
    """Ask for each model; return the seconds to the decision: the load in Triton, or that another model is to leave."""
    room, decisions = asyncio.Semaphore(at_once), []

    async def ask(model: str) -> None:
        async with room:
            await asyncio.sleep(COLD_PAUSE_SECONDS)
            began = await stage.gateways.wait_for(model)
            asked = stage.fleet.asked_seconds[model]
            left = [at for at in stage.gateways.withdrawn_seconds if began <= at < asked]
            decisions.append(min((asked, *left)) - began)

    await asyncio.gather(*(ask(model) for model in models))
    return decisions


def _peak_bytes(process_id: int) -> int:
    """The most memory that a process had."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024


if __name__ == "__main__":
    main()
