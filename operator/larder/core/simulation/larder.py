"""Larder's own planner in the simulated world: the same `plan` as in the operator, on a snapshot of the world."""

import math
from bisect import bisect_right
from dataclasses import dataclass, replace

import numpy as np

from larder.core.appraisal import Appraisal, Floats, Traffic
from larder.core.attainment import LEAST_BUSY, RATE_WINDOW_SECONDS, Fleet, predict, with_present_rates
from larder.core.autoscaler import SETTLE_SECONDS
from larder.core.experience import Experience
from larder.core.forecast import Forecaster, is_known
from larder.core.outlook import appraise, make_catalog, miss_costs
from larder.core.plan import Drain, Load, Plan, Reason, Retire, Scale
from larder.core.planner import plan
from larder.core.shortfall import LEAST_INTERVALS, Shortfalls, settled_pods
from larder.core.simulation.workload import MINUTE_SECONDS, Workload
from larder.core.simulation.world import World
from larder.core.sizing import needs_of
from larder.core.snapshot import (
    Measured,
    Model,
    Objective,
    Placement,
    PlacementState,
    Pod,
    PodState,
    Rate,
    Settings,
    Snapshot,
    Waiting,
)
from larder.core.worth import ASSUMED_LOAD_SECONDS

LOOK_EVERY_SECONDS = 5.0
"""How often the plan is made when nothing happens; the operator's loop is no slower."""
SCALE_EVERY_SECONDS = 60.0
"""How often the number of pods is thought about, unless the options say otherwise."""
WORTH_A_RATE = 0.3
"""Models that keep a copy less busy than this need no second one; their rates are left out of the snapshot."""
MOST_WINDOWS = 5
"""What is older than so many windows of a present rate weighs nothing in it."""
MOST_ROUNDS = 4
"""Plans in a row at one moment: a drain is done at once here, and the next plan loads into its memory."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a run may turn off, to see what it is worth, and what is set otherwise where time is compressed."""

    objectives: tuple[Objective, ...] | None = None
    protection_seconds: float = 0.0
    target_attainment: float | None = None
    least_pods: int = 1
    most_pods: int = 1
    interval_seconds: float = MINUTE_SECONDS
    scale_every_seconds: float = SCALE_EVERY_SECONDS
    scale_down_after_seconds: float = SETTLE_SECONDS
    as_in_operator: bool = False
    """Also what the operator has beside counts per interval: present rates, by which bursts are seen within seconds;
    no opinion on models that were never asked for until it has watched for long enough; and no measured times of a
    model before its first load.
    """


def declare(workload: Workload, options: Options) -> dict[str, Model]:
    """The workload's models as declared and measured."""
    objectives = options.objectives or (Objective(),) * len(workload.names)
    return {
        name: Model(
            name,
            workload.sizes_bytes[n],
            objective=objectives[n],
            load_seconds=Measured(workload.load_seconds[n], 0.0, 1, 0.0),
            execution_seconds=Measured(workload.execution_seconds[n], 0.0, 1, 0.0),
        )
        for n, name in enumerate(workload.names)
    }


class Demand:
    """Counts the workload's requests as they come, and keeps the forecast fed."""

    def __init__(self, workload: Workload, interval_seconds: float = MINUTE_SECONDS) -> None:
        self._times, self._models = workload.merged()
        self._taken = 0
        self._count = len(workload.names)
        self.forecaster = Forecaster(self._count, interval_seconds)

    def advance(self, now_seconds: float) -> None:
        """Take in every request up to and including now."""
        while self.forecaster.interval_end_seconds <= now_seconds:
            end = np.searchsorted(self._times, self.forecaster.interval_end_seconds, side="left")
            self._take(int(end))
            self.forecaster.close_interval()
        self._take(int(np.searchsorted(self._times, now_seconds, side="right")))

    def _take(self, until: int) -> None:
        if until > self._taken:
            fresh = self._models[self._taken : until]
            self.forecaster.add(np.bincount(fresh, minlength=self._count))
            self._taken = until


class Counted:
    """Requests, and those that waited for a load for too long, as gateways would count them. Queues are left out."""

    def __init__(self, workload: Workload, objectives: tuple[Objective, ...] | None) -> None:
        count = len(workload.names)
        self._limits = [
            math.inf if o.latency_seconds is None else o.latency_seconds + (o.cold_start_seconds or 0.0) - seconds
            for o, seconds in zip(objectives or (Objective(),) * count, workload.execution_seconds, strict=True)
        ]
        self._requests, self._batches = 0, [0] * count

    def since_last(self, world: World) -> tuple[int, int]:
        """Requests, and missed ones, since this was asked last."""
        asked = sum(world.uses(model) for model in range(len(self._limits)))
        requests, self._requests = asked - self._requests, asked
        return requests, sum(self._late(world, model) for model in range(len(self._limits)))

    def _late(self, world: World, model: int) -> int:
        batches, late = world.ledger.batches[model], 0
        for batch in batches[self._batches[model] :]:
            waited_since = batch.ready_seconds - self._limits[model]
            late += max(0, min(batch.last, bisect_right(world.arrivals[model], waited_since)) - batch.first)
        self._batches[model] = len(batches)
        return late


class LarderPolicy:
    """Gathers a snapshot of the world, plans, applies: until a plan has nothing more to do at this moment.

    `resizings`: when the number of pods was changed, and why.
    """

    def __init__(self, workload: Workload, options: Options | None = None) -> None:
        options = options or Options()
        self._measured = self._models = declare(workload, options)
        self._names = workload.names
        self._numbers = {name: n for n, name in enumerate(workload.names)}
        self._catalog = make_catalog(self._models, 1, 1.0)
        self._order = np.array([self._numbers[name] for name in self._catalog.names])
        self._demand = Demand(workload, options.interval_seconds)
        self._options = options
        self._placements: dict[tuple[int, int], Placement] = {}
        self._pods: dict[int, Pod] = {}
        self._look_at = 0.0
        self._scale_at = 0.0
        self._scaled_at: float | None = None
        self._load_seconds, self._execution = np.array(workload.load_seconds), np.array(workload.execution_seconds)
        self.resizings: list[tuple[float, str]] = []
        self._experience = Experience()
        self._shortfalls = Shortfalls(options.interval_seconds)
        self._counted = Counted(workload, options.objectives)
        if options.as_in_operator:
            self._know({n: replace(m, load_seconds=None, execution_seconds=None) for n, m in self._models.items()})

    def _know(self, models: dict[str, Model]) -> None:
        """Go on with what is known of the models now."""
        self._models = models
        self._catalog = make_catalog(models, 1, ASSUMED_LOAD_SECONDS)
        self._load_seconds = np.empty(len(models))
        self._load_seconds[self._order] = self._catalog.load_seconds

    def decide(self, world: World) -> None:
        """Play one moment."""
        if world.now >= self._look_at:
            self._look_at = world.now + LOOK_EVERY_SECONDS
        world.wake_at(self._look_at)
        scaling = self._options.target_attainment is not None and world.now >= self._scale_at
        if scaling:
            self._scale_at = world.now + self._options.scale_every_seconds
        elif all(n >= world.hardware.loads_at_once for n in world.loads_running.values()):
            return
        self._demand.advance(world.now)
        self._judge(world)
        appraisal = self._appraise(world)
        for _ in range(MOST_ROUNDS):
            snapshot = self._snapshot(world, appraisal)
            decided = plan(self._sized(world, snapshot) if scaling else snapshot, world.now)
            scaling = False
            for held in decided.unplaced:
                if (at := held.due_seconds(world.now)) is not None:
                    world.wake_at(at)
            if not self._apply(world, decided, appraisal):
                return

    def _appraise(self, world: World) -> Appraisal:
        seconds, forecaster, order = self._load_seconds, self._demand.forecaster, self._order
        costs = np.empty(len(seconds))
        costs[order] = miss_costs(self._catalog, forecaster.burst_rates[order])
        slots = len(world.pods) * world.hardware.loads_at_once
        shares = self._experience.fetch_shares(world.now, slots, seconds, costs)
        outlook = forecaster.outlook(world.now, seconds, shares)
        known = is_known(forecaster)[order] if self._options.as_in_operator else None
        return appraise(self._catalog, outlook.reordered(order), known, self._experience.record.trust)

    def _judge(self, world: World) -> None:
        """Look what became of models fetched before."""
        record = self._experience.record
        for name, since in record.open.items():
            if not record.is_open(name):
                continue
            for asked in (*record.victims(name), name):
                if (at := _next_use(world, self._numbers[asked], since)) is not None:
                    record.asked(asked, at)
            model = self._numbers[name]
            if record.is_open(name) and not world.ready[model] and not world.loading[model]:
                record.left(name, world.now)

    def _snapshot(self, world: World, appraisal: Appraisal) -> Snapshot:
        names = self._names
        self._refresh(world)
        limits = Settings(
            default_model_bytes=1,
            loads_at_once=world.hardware.loads_at_once,
            protection_seconds=self._options.protection_seconds,
            max_pods=len(world.pods),
        )
        if self._pods.keys() != world.pods.keys():
            self._pods = {p: Pod(f"p{p}", PodState.SERVING, world.hardware.capacity_bytes) for p in world.pods}
        pods = {pod.name: pod for pod in self._pods.values()}
        hold = world.hardware.hold_seconds or np.inf
        waiting = {
            names[m]: Waiting(names[m], world.waiting_count(m), since, since + hold)
            for m, since in world.waiting.items()
            if not world.loading[m]
        }
        placements = tuple(self._placements.values())
        return Snapshot(limits, self._models, pods, placements, waiting, self._rates(world), appraisal=appraisal)

    def _rates(self, world: World) -> dict[str, Rate]:
        """Rates of busy models. Without objectives only the waiting for loads counts, and copies would spare none."""
        if self._options.objectives is None:
            return {}
        rates, least = self._demand.forecaster.busy_rates_per_second(), WORTH_A_RATE
        if self._options.as_in_operator:
            rates, least = np.maximum(rates, self._present_rates(world)), LEAST_BUSY
        busy = np.nonzero(rates * self._execution > least)[0]
        return {self._names[n]: Rate(float(rates[n]), world.now) for n in busy.tolist()}

    def _present_rates(self, world: World) -> Floats:
        """As gateways' counts give them: older requests weigh less and less."""
        rates = np.zeros(len(self._names))
        for model, times in enumerate(world.workload.arrivals):
            first, last = np.searchsorted(times, (world.now - MOST_WINDOWS * RATE_WINDOW_SECONDS, world.now), "right")
            weights = np.exp((times[first:last] - world.now) / RATE_WINDOW_SECONDS)
            rates[model] = float(weights.sum()) / RATE_WINDOW_SECONDS
        return rates

    def _traffic(self, world: World) -> Traffic:
        found = self._demand.forecaster.traffic()
        ordered = Traffic(found.active_share[self._order], found.burst[self._order], found.interval_seconds)
        if not self._options.as_in_operator:
            return ordered
        return with_present_rates(ordered, self._present_rates(world)[self._order])

    def _sized(self, world: World, snapshot: Snapshot) -> Snapshot:
        """The same with what the autoscaler needs."""
        limits = replace(
            snapshot.settings,
            min_pods=self._options.least_pods,
            max_pods=self._options.most_pods,
            target_attainment=self._options.target_attainment,
            scale_down_after_seconds=self._options.scale_down_after_seconds,
        )
        sized = replace(
            snapshot,
            settings=limits,
            asked_pods=len(world.pods) + len(world.starting),
            scaled_at_seconds=self._scaled_at,
            start_seconds=Measured(world.hardware.start_seconds, 0.0, 1, world.now),
            traffic=self._traffic(world),
        )
        return self._corrected(world, sized) if self._options.as_in_operator else sized

    def _corrected(self, world: World, snapshot: Snapshot) -> Snapshot:
        """What was predicted is held against what was seen since the last time, and what is predicted now corrected."""
        requests, missed = self._counted.since_last(world)
        pods, watched = settled_pods(snapshot), self._demand.forecaster.closed_intervals
        if pods is not None and watched >= LEAST_INTERVALS and snapshot.appraisal and snapshot.traffic:
            fleet = Fleet(pods, world.hardware.capacity_bytes, world.hardware.loads_at_once)
            needs = needs_of(snapshot.appraisal.catalog, snapshot)
            predicted = predict(snapshot.appraisal.catalog, snapshot.traffic, needs, fleet)
            self._shortfalls.take(world.now, pods, requests, missed, predicted)
        return replace(snapshot, shortfalls=self._shortfalls.factors(world.now))

    def _scale(self, world: World, action: Scale) -> None:
        """More pods; those that start already can't be called off here."""
        self._resized(world, action.message)
        while len(world.pods) + len(world.starting) < action.pods:
            world.add_pod(world.hardware.start_seconds)

    def _retire(self, world: World, action: Retire) -> None:
        """A pod that is chosen to go is gone at once: its models are not moved here."""
        self._resized(world, action.message)
        world.remove_pod(int(action.pod[1:]))

    def _resized(self, world: World, why: str) -> None:
        self._scaled_at = world.now
        self.resizings.append((world.now, why))

    def _refresh(self, world: World) -> None:
        for key in world.changed:
            model, pod = key
            if pod in world.ready[model]:
                state, since = PlacementState.READY, world.ready[model][pod]
            elif pod in world.loading[model]:
                state, since = PlacementState.LOADING, world.loading[model][pod]
            else:
                self._placements.pop(key, None)
                continue
            self._placements[key] = Placement(self._names[model], f"p{pod}", state, world.sizes[model], since)
        ready = {self._names[model] for model, _ in world.changed if world.ready[model]}
        if new := {name: self._measured[name] for name in ready if self._models[name] is not self._measured[name]}:
            self._know(self._models | new)
        world.changed.clear()

    def _apply(self, world: World, decided: Plan, appraisal: Appraisal) -> bool:
        """Apply the plan; whether it drained anything, so that another may follow at this moment."""
        waiting = {a.model: world.waiting_count(self._numbers[a.model]) for a in decided.actions if isinstance(a, Load)}
        self._experience.began(world.now, decided.actions, waiting, appraisal)
        drained = False
        for action in decided.actions:
            if isinstance(action, Load):
                world.load(self._numbers[action.model], int(action.pod[1:]), action.reason is Reason.FORECAST)
            elif isinstance(action, Drain):
                world.evict(self._numbers[action.model], int(action.pod[1:]))
                drained = True
            elif isinstance(action, Scale):
                self._scale(world, action)
            elif isinstance(action, Retire):
                self._retire(world, action)
        return drained


def _next_use(world: World, model: int, since_seconds: float) -> float | None:
    """The first request after a time, if it came."""
    arrivals = world.arrivals[model]
    at = bisect_right(arrivals, since_seconds)
    return arrivals[at] if at < len(arrivals) and arrivals[at] <= world.now else None
