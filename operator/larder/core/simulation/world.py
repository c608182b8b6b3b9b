"""The simulated pool: pods with budgets and load slots, models that load and leave, requests that wait.

Requests for a resident model change nothing here and are never events; they are counted when somebody asks
(`uses`). Only the first request that finds no copy is an event, then the end of its load. So a run costs what its
loads cost, not what its requests cost, and is exact.
"""

import heapq
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from larder.core.simulation.workload import Workload

COLD, LOADED, POD_UP, WAKE = range(4)


@dataclass(frozen=True, slots=True)
class Hardware:
    """The pods of a run. A pod takes `loads_at_once` loads and serves `start_seconds` after it was asked for."""

    capacity_bytes: int
    pods: int
    loads_at_once: int = 2
    start_seconds: float = 60.0
    hold_seconds: float | None = None
    load_failure_share: float = 0.0
    stop_seconds: float = 0.0
    """How long a pod that was taken away still costs."""


@dataclass(frozen=True, slots=True)
class ColdBatch:
    """Requests `first` to `last` (exclusive) of a model waited for a copy that was ready at `ready_seconds`."""

    first: int
    last: int
    ready_seconds: float


@dataclass(slots=True)
class Ledger:
    """What happened in a run, in base units."""

    added_latency_seconds: float = 0.0
    cold_requests: int = 0
    loads: int = 0
    evictions: int = 0
    wasted_prefetches: int = 0
    failed_loads: int = 0
    pod_seconds: float = 0.0
    batches: list[list[ColdBatch]] = field(default_factory=list)
    residences: list[tuple[int, int, float, float]] = field(default_factory=list)
    """(model, pod, ready, gone) of every finished residence."""


class Policy(Protocol):
    """Plays a world. Called after everything that happens at one moment has happened."""

    def decide(self, world: "World") -> None:
        """Load, evict and scale through the world's methods."""


class World:
    """The state of one run. Models and pods are numbers."""

    def __init__(self, workload: Workload, hardware: Hardware, rng: np.random.Generator | None = None) -> None:
        self.workload, self.hardware, self.rng = workload, hardware, rng
        count = len(workload.names)
        self.now = 0.0
        self.sizes = list(workload.sizes_bytes)
        self.load_seconds = list(workload.load_seconds)
        self.arrivals = [times.tolist() for times in workload.arrivals]
        self.sums = [np.concatenate(([0.0], np.cumsum(times))) for times in workload.arrivals]
        self.served = [0] * count
        self.ready: list[dict[int, float]] = [{} for _ in range(count)]
        self.loading: list[dict[int, float]] = [{} for _ in range(count)]
        self.waiting: dict[int, float] = {}
        self.pods: dict[int, set[int]] = {}
        self.free: dict[int, int] = {}
        self.loads_running: dict[int, int] = {}
        self.starting: dict[int, float] = {}
        self.born: dict[int, float] = {}
        self.prefetched: set[tuple[int, int]] = set()
        self.changed: set[tuple[int, int]] = set()
        self.ledger = Ledger(batches=[[] for _ in range(count)])
        self._events: list[tuple[float, int, int, int, int]] = []
        self._order = 0
        self._next_pod = 0
        self._wake_at = 0.0
        for model in range(count):
            self._expect(model)

    def run(self, policy: Policy, progress: Callable[[float], None] | None = None) -> Ledger:
        """Play the whole workload, then count what is still there."""
        for _ in range(self.hardware.pods - len(self.pods)):
            self.add_pod(0.0)
        report_at, end = 0.0, self.workload.duration_seconds
        while self._events and self._events[0][0] <= end:
            self.now = self._events[0][0]
            while self._events and self._events[0][0] == self.now:
                _, _, kind, first, second = heapq.heappop(self._events)
                self._happen(kind, first, second)
            policy.decide(self)
            if progress is not None and self.now >= report_at:
                progress(self.now / end)
                report_at += end / 200
        self._finish()
        return self.ledger

    def uses(self, model: int) -> int:
        """Requests for the model up to and including now."""
        return bisect_right(self.arrivals[model], self.now)

    def waiting_count(self, model: int) -> int:
        """Requests that wait for the model now and have not given up."""
        held = self.uses(model) - self.served[model]
        if self.hardware.hold_seconds is None or held == 0:
            return held
        lost = bisect_right(self.arrivals[model], self.now - self.hardware.hold_seconds) - self.served[model]
        return held - max(0, lost)

    def wake_at(self, seconds: float) -> None:
        """Have the policy called at that time, or before; who is called before its time asks again."""
        if seconds < float("inf") and not self.now < self._wake_at <= seconds:
            self._wake_at = max(seconds, self.now)
            self._push(self._wake_at, WAKE, 0, 0)

    def load(self, model: int, pod: int, prefetch: bool = False) -> None:
        """Begin a load. The caller has made sure of memory and slot; a budget is never exceeded."""
        assert pod not in self.ready[model] and pod not in self.loading[model]
        self.free[pod] -= self.sizes[model]
        assert self.free[pod] >= 0, "budget"
        assert self.loads_running[pod] < self.hardware.loads_at_once, "load slots"
        self.pods[pod].add(model)
        self.changed.add((model, pod))
        self.loading[model][pod] = self.now
        self.loads_running[pod] += 1
        self.ledger.loads += 1
        if prefetch:
            self.prefetched.add((model, pod))
        self._push(self.now + self.load_seconds[model], LOADED, model, pod)

    def evict(self, model: int, pod: int) -> None:
        """Unload a ready copy; its memory is free at once (an unload returns in milliseconds)."""
        since = self.ready[model].pop(pod)
        self.pods[pod].remove(model)
        self.changed.add((model, pod))
        self.free[pod] += self.sizes[model]
        self.ledger.evictions += 1
        self._leave(model, pod, since)
        if not self.ready[model]:
            self.served[model] = self.uses(model)
            self._expect(model)

    def add_pod(self, start_seconds: float) -> int:
        """Ask for one more pod; it serves after `start_seconds`."""
        pod, self._next_pod = self._next_pod, self._next_pod + 1
        self.born[pod] = self.now
        self.starting[pod] = self.now + start_seconds
        if start_seconds <= 0.0:
            self._happen(POD_UP, pod, 0)
        else:
            self._push(self.now + start_seconds, POD_UP, pod, 0)
        return pod

    def remove_pod(self, pod: int) -> None:
        """Take a pod away with what is on it; loads that run there are lost."""
        self.starting.pop(pod, None)
        for model in list(self.pods.get(pod, ())):
            if pod in self.ready[model]:
                self.evict(model, pod)
            else:
                del self.loading[model][pod]
                self.changed.add((model, pod))
                self._expect_again(model)
        for table in (self.pods, self.free, self.loads_running):
            table.pop(pod, None)
        self.ledger.pod_seconds += self.now - self.born.pop(pod) + self.hardware.stop_seconds

    def _happen(self, kind: int, first: int, second: int) -> None:
        if kind == COLD:
            if not self.ready[first] and self.uses(first) > self.served[first]:
                self.waiting.setdefault(first, self.now)
        elif kind == LOADED:
            if second in self.loading[first] and second in self.pods:
                self._loaded(first, second)
        elif kind == POD_UP and first in self.starting:
            del self.starting[first]
            self.pods[first], self.free[first] = set(), self.hardware.capacity_bytes
            self.loads_running[first] = 0

    def _loaded(self, model: int, pod: int) -> None:
        del self.loading[model][pod]
        self.changed.add((model, pod))
        self.loads_running[pod] -= 1
        share = self.hardware.load_failure_share
        if share and self.rng is not None and self.rng.random() < share:
            self.ledger.failed_loads += 1
            self.pods[pod].remove(model)
            self.free[pod] += self.sizes[model]
            self._expect_again(model)
            return
        if not self.ready[model]:
            self._serve_waiting(model)
        self.ready[model][pod] = self.now

    def _serve_waiting(self, model: int) -> None:
        first, last = self.served[model], self.uses(model)
        self.waiting.pop(model, None)
        if last == first:
            return
        waited = (last - first) * self.now - float(self.sums[model][last] - self.sums[model][first])
        hold = self.hardware.hold_seconds
        if hold is not None:
            lost = max(0, bisect_right(self.arrivals[model], self.now - hold) - first)
            if lost:
                span = float(self.sums[model][first + lost] - self.sums[model][first])
                waited -= lost * self.now - span - lost * hold
        self.ledger.added_latency_seconds += waited
        self.ledger.cold_requests += last - first
        self.ledger.batches[model].append(ColdBatch(first, last, self.now))
        self.served[model] = last

    def _leave(self, model: int, pod: int, since: float) -> None:
        self.ledger.residences.append((model, pod, since, self.now))
        if (model, pod) in self.prefetched:
            self.prefetched.remove((model, pod))
            used = self.uses(model) > bisect_right(self.arrivals[model], since)
            waited = any(b.ready_seconds == since for b in self.ledger.batches[model][-1:])
            self.ledger.wasted_prefetches += not (used or waited)

    def _expect(self, model: int) -> None:
        if self.served[model] < len(self.arrivals[model]):
            self._push(max(self.now, self.arrivals[model][self.served[model]]), COLD, model, 0)

    def _expect_again(self, model: int) -> None:
        if not self.ready[model] and not self.loading[model] and model not in self.waiting:
            self._expect(model)

    def _push(self, seconds: float, kind: int, first: int, second: int) -> None:
        self._order += 1
        heapq.heappush(self._events, (seconds, self._order, kind, first, second))

    def _finish(self) -> None:
        self.now = self.workload.duration_seconds
        for model, pods in enumerate(self.ready):
            for pod, since in pods.items():
                self._leave(model, pod, since)
            if not pods:
                self._serve_waiting(model)
        for born in self.born.values():
            self.ledger.pod_seconds += self.now - born
