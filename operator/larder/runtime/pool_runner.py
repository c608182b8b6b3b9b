"""One pool while this replica leads: its state, its loop, and everything that runs beside the rounds."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, Protocol

from larder.adapters.kube.informer import Source
from larder.api import names
from larder.api.conditions import ConditionReason
from larder.api.demand import Message, ModelCount
from larder.runtime import model_status as models
from larder.runtime import pool_status as pools
from larder.runtime import telemetry
from larder.runtime.books import Books
from larder.runtime.children import Keys
from larder.runtime.declared import resolve
from larder.runtime.doubts import Doubts
from larder.runtime.forecasts import Forecasts
from larder.runtime.gateways import Gateways, Socket
from larder.runtime.leadership import Fence, NotLeadingError
from larder.runtime.memory import last_decision
from larder.runtime.metering import Meter, Metering, meter_address
from larder.runtime.observed import POOLS, Attainment
from larder.runtime.past import Metrics, Past
from larder.runtime.pod_writes import Pods
from larder.runtime.pods import PodView
from larder.runtime.pool_loop import PoolLoop, World
from larder.runtime.predictions import Predictions
from larder.runtime.publish import Publisher
from larder.runtime.report import Notes, Reporter
from larder.runtime.scaling_status import remembered_scaling, remembered_start
from larder.runtime.settings import Platform
from larder.runtime.state import Clock, Control, Controls, PoolState, Timings
from larder.runtime.status_writer import StatusWriter
from larder.runtime.tasks import Tasks
from larder.runtime.upkeep import Objects, Upkeep
from larder.runtime.watching import Lists, Mounts, Readings

log = logging.getLogger(__name__)

RETRY_SECONDS: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
PUBLISH_SECONDS: Final = 3.0
"""What is being published may take so long to be finished when the loop ends in good order."""
STATUS_BATCH: Final = 50


class Cluster(Pods, Objects, Source, Lists, Protocol):
    """The API server."""


@dataclass(frozen=True, slots=True)
class Surface:
    """What a pool's loop touches of the world outside."""

    cluster: Cluster
    open_control: Callable[[str, str], Control]
    open_stream: Callable[[str, str], AbstractAsyncContextManager[Socket]]
    open_meter: Callable[[str, str], AbstractAsyncContextManager[Meter]]
    open_gpu_meter: Callable[[str, str], AbstractAsyncContextManager[Meter]]
    notes: Notes
    statuses: StatusWriter
    fence: Fence
    clock: Clock
    timings: Timings
    platform: Platform
    make_key: Callable[[], str]
    generations: dict[str, int] = field(default_factory=dict)
    metrics: Metrics | None = None


class PoolRunner:
    """Made anew for every term. `run` ends only by an error or by being cancelled."""

    def __init__(self, world: World, surface: Surface) -> None:
        self._world, self._surface = world, surface
        pool, clock = world.pool(), surface.clock
        books = Books(
            last_decision=last_decision(pool.status),
            last_scaling=remembered_scaling(pool.status),
            start_seconds=remembered_start(pool.status, clock.unix()),
            began_seconds=clock.unix(),
        )
        self._upkeep = Upkeep(surface.cluster, surface.platform, surface.make_key, surface.fence.check)
        self._scaled: int | None = None
        self._deployments = world.deployments()
        self._due_status, self._due_upkeep, self._keyed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        tasks = Tasks()
        report = Reporter(pool, books, surface.notes, clock.unix)
        gateways = Gateways(self._open_stream, self, clock.unix)
        publisher = Publisher(
            pods=surface.cluster,
            fence=surface.fence,
            books=books,
            tasks=tasks,
            tell=gateways.tell,
            monotonic=clock.monotonic,
            observed=self._published,
            generations=surface.generations,
            pause_seconds=surface.timings.settle,
        )
        self.state = PoolState(
            pool=pool,
            declared=resolve(()),
            books=books,
            gateways=gateways,
            forecasts=Forecasts(clock.monotonic, surface.timings.forecast_interval),
            publisher=publisher,
            controls=Controls(self._open_control),
            fence=surface.fence,
            clock=clock,
            timings=surface.timings,
            tasks=tasks,
            report=report,
            wake=self.wake,
        )
        self.loop = PoolLoop(
            self.state,
            world,
            self._scale,
            self._may_command,
            self._due_status.set,
            Doubts(self.state),
            Predictions(self.state),
            Metering(self.state, self._open_meter),
        )
        self._attainment = Attainment(clock.monotonic)
        self._past = Past(self.state, surface.metrics)
        self._readings = Readings(self.state)
        self._mounts = Mounts(self.state, surface.cluster)
        self._told: set[str] = set()
        self._said: dict[str, tuple[object, ...]] = {}
        """By uid, what the status of each Model that was said last was made of."""

    def wake(self) -> None:
        """Something changed."""
        self.loop.wake()

    def objects_changed(self) -> None:
        """The pool or its Deployment changed."""
        self._due_upkeep.set()
        self.wake()

    def noticed(self) -> None:
        """A pod, a Model or a Deployment changed. A Deployment that vanished is made again."""
        present = self._world.deployments()
        if self._deployments - present:
            self._upkeep.forget()
            self._due_upkeep.set()
        self._deployments = present
        self.wake()

    def demand_changed(self, models: Iterable[str]) -> None:
        """Gateways say that these models wait or were used."""
        self.loop.demand_changed(models)

    def counted(self, models: Mapping[str, ModelCount]) -> None:
        """A gateway counted these requests since it told last."""
        self.state.forecasts.count({name: count.requests for name, count in models.items()})
        met, missed = (sum(getattr(count, kind) or 0 for count in models.values()) for kind in ("met", "missed"))
        self.state.forecasts.attained(met, missed)
        self._attainment.take(models)

    def died(self, model: str, pod_uid: str) -> None:
        """A gateway heard from Triton that the model's process has ended."""
        self._readings.died(model, pod_uid)

    def known(self) -> Iterable[Message]:
        """What a gateway must know that connects now."""
        return self.loop.known()

    async def run(self) -> None:
        """Keep the pool until cancelled; then finish what is being published, if this replica still leads."""
        try:
            with POOLS.showing(self.state, self._attainment):
                await self._work()
        finally:
            await self._close()

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            for work in (
                self._broken(),
                self._keep_objects(),
                self._keep_rounds(),
                self._keep_status(),
                self._keep_mounts(),
                self._past.run(),
                self._readings.run(),
            ):
                group.create_task(work)

    async def _close(self) -> None:
        self.state.publisher.hurry()
        await self.state.tasks.settle("publish", PUBLISH_SECONDS)
        await self.state.tasks.close()
        await self.state.gateways.close()
        await self.state.controls.close()

    async def _broken(self) -> None:
        await self.state.tasks.broken

    async def _keep_rounds(self) -> None:
        """Rounds begin once the keys are known by which Triton and gateways know the operator."""
        await self._keyed.wait()
        await self.loop.run()

    async def _keep_objects(self) -> None:
        failures, told = 0, ""
        while True:
            self._due_upkeep.clear()
            done = await self._upkeep.ensure(self._world.pool(), self._pods_to_ask())
            if self._upkeep.taken not in ("", told):
                self.state.report.warn("Apply", str(ConditionReason.NAME_TAKEN), self._upkeep.taken)
            told = self._upkeep.taken
            if self._upkeep.keys is not None:
                self._keyed.set()
            self._due_status.set()
            failures = 0 if done else failures + 1
            pause = self._surface.timings.reapply if done else RETRY_SECONDS[min(failures, len(RETRY_SECONDS)) - 1]
            try:
                async with asyncio.timeout(pause):
                    await self._due_upkeep.wait()
            except TimeoutError:
                if done:
                    self._upkeep.forget()

    async def _keep_mounts(self) -> None:
        while True:
            await self._mounts.look({view.name: view for view in self._world.pods()})
            self._due_status.set()
            await asyncio.sleep(self._surface.timings.trouble)

    async def _keep_status(self) -> None:
        """Say what is, at most so often; the writer leaves out what did not change.

        Not in the moment of a change: the processor is for the requests that waited for it.
        """
        while True:
            await self._due_status.wait()
            await asyncio.sleep(self._surface.timings.settle)
            self._due_status.clear()
            await self._say()
            await asyncio.sleep(self._surface.timings.status)

    async def _say(self) -> None:
        state, now = self.state, self._surface.clock.unix()
        given = models.facts(state.pool, state.declared.serving, state.books, self.loop.unplaced)
        for number, model in enumerate(list(state.declared.serving.values())):
            if number % STATUS_BATCH == STATUS_BATCH - 1:
                await asyncio.sleep(0)
            made_of, uid = models.made_of(model, given), model.meta.uid
            if made_of != self._said.get(uid) or not self._surface.statuses.stands(uid):
                self._said[uid] = made_of
                self._surface.statuses.want_model(model, models.serving_status(model, given), now)
        for model, older in list(state.declared.conflicts.values()):
            self._surface.statuses.want_model(model, models.conflicting_status(model, older), now)
        told = {model.meta.uid for model in state.declared.serving.values()} | set(state.declared.conflicts)
        for uid in self._told - told:
            self._surface.statuses.forget(uid)
            self._said.pop(uid, None)
        self._told = told
        status = pools.pool_status(given, self._around(), now)
        self._surface.statuses.want_pool(state.pool, status, now)
        telemetry.MEMORY_USED.labels(*state.report.labels).set(status.memory_used_bytes)
        telemetry.MEMORY_BUDGET.labels(*state.report.labels).set(status.memory_budget_bytes)

    def _around(self) -> pools.Surroundings:
        deployed = self._world.deployed()
        return pools.Surroundings(
            triton=self._triton(),
            gateways=tuple(view for view in self._world.pods() if view.component == names.GATEWAY),
            refused=self._upkeep.refused or (deployed.failure if deployed else ""),
            taken=self._upkeep.taken,
            unmounted=self._mounts.unmounted,
            desired_pods=deployed.pods if deployed else None,
            verdict=self.state.forecasts.verdict,
            metrics=self._past.reading,
        )

    def _triton(self) -> dict[str, PodView]:
        return {view.name: view for view in self._world.pods() if view.component == names.TRITON}

    def _pods_to_ask(self) -> int:
        """The number of pods last decided, else what the Deployment asks for; the user's own also in mode Advise."""
        pool, deployed = self._world.pool(), self._world.deployed()
        wanted = pool.pods.min if pool.pods.fixed is None else pool.pods.fixed
        if pool.mode == "Advise" and pool.pods.fixed is not None:
            return wanted
        return self._scaled if self._scaled is not None else deployed.pods if deployed else wanted

    def _scale(self, pods: int) -> None:
        self._scaled = pods
        self._upkeep.forget("Deployment", names.triton_name(self.state.pool.meta.name))
        self._due_upkeep.set()

    def _may_command(self) -> bool:
        try:
            self._surface.fence.check()
        except NotLeadingError:
            return False
        return True

    def _published(self, seconds: float) -> None:
        telemetry.PUBLICATION_SECONDS.labels(*self.state.report.labels).observe(seconds)

    def _open_control(self, address: str) -> Control:
        return self._surface.open_control(address, self._keys().admin_key)

    def _open_stream(self, ip: str) -> AbstractAsyncContextManager[Socket]:
        return self._surface.open_stream(f"{ip}:{names.DEMAND_PORT}", self._keys().demand_token)

    def _open_meter(self, ip: str) -> AbstractAsyncContextManager[Meter]:
        pool = self.state.pool
        opener = self._surface.open_gpu_meter if pool.template.has_gpu else self._surface.open_meter
        return opener(meter_address(pool, ip), self._keys().demand_token)

    def _keys(self) -> Keys:
        assert self._upkeep.keys is not None, "rounds begin when the keys are known"
        return self._upkeep.keys
