"""The planner with a forecast plays against a world for thousands of steps, and the rules that always hold hold.

Loads end, drains and unloads move on in any order and may fail; requests come by timers and by chance; pods come and
go. The forecast is fed as it is in the operator and the simulator. Every action is checked again as it is applied.
"""

import random
from dataclasses import replace

import numpy as np
import pytest

from larder.core.forecast import Forecaster
from larder.core.plan import Drain, Load, Plan, Reason
from larder.core.planner import plan
from larder.core.recheck import still_holds
from larder.core.snapshot import Placement, PlacementState, PodState, Settings, Snapshot, Waiting
from tests.core import builders
from tests.core.builders import MB, model, pod

STEPS = 1000
NAMES = tuple(f"m{n:02d}" for n in range(16))
PODS = ("p0", "p1", "p2")
LOADS_AT_ONCE = 2
PROTECTION_SECONDS = 30.0
LIMITS = Settings(10 * MB, loads_at_once=LOADS_AT_ONCE, protection_seconds=PROTECTION_SECONDS, max_pods=len(PODS))


class Game:
    """The world, and what the planner is told of it."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.now = 0.0
        self.models = {
            n: model(
                n, self.dice.randint(2, 18), priority=self.dice.choice((0, 0, 0, 1)), load_seconds=builders.seconds(5)
            )
            for n in NAMES
        }
        self.periods = {n: self.dice.choice((30.0, 90.0, 300.0, 1200.0)) for n in NAMES}
        self.pods = {n: pod(n, 40) for n in PODS}
        self.placements: dict[tuple[str, str], Placement] = {}
        self.held: dict[str, Waiting] = {}
        self.forecaster = Forecaster(len(NAMES))
        self.fetched = 0

    def step(self) -> None:
        """Time passes, the world moves, the planner plans and is applied."""
        before, self.now = self.now, self.now + self.dice.uniform(0.5, 8.0)
        for name in NAMES:
            due = int(self.now / self.periods[name]) > int(before / self.periods[name])
            if due or self.dice.random() < 0.005:
                self.request(name)
        while self.forecaster.interval_end_seconds <= self.now:
            self.forecaster.close_interval()
        for key in [k for k, p in self.placements.items() if p.state is not PlacementState.READY]:
            if self.dice.random() < 0.6:
                self.move_on(key)
        if self.dice.random() < 0.01:
            self.change_a_pod()
        self.play()

    def request(self, name: str) -> None:
        self.forecaster.add(np.array([float(n == name) for n in NAMES]))
        ready = [k for k, p in self.placements.items() if k[0] == name and p.state is PlacementState.READY]
        for key in ready:
            self.placements[key] = replace(self.placements[key], last_used_seconds=self.now)
        if not ready:
            held = self.held.get(name, Waiting(name, 0, self.now, self.now + 60.0))
            self.held[name] = replace(held, count=held.count + 1)

    def move_on(self, key: tuple[str, str]) -> None:
        placement = self.placements[key]
        if placement.state is PlacementState.DRAINING:
            self.placements[key] = replace(placement, state=PlacementState.UNLOADING)
        elif placement.state is PlacementState.LOADING and self.dice.random() < 0.95:
            self.placements[key] = replace(placement, state=PlacementState.READY, since_seconds=self.now)
            self.held.pop(key[0], None)
        else:
            if placement.state is PlacementState.LOADING:
                self.models[key[0]] = replace(self.models[key[0]], retry_at_seconds=self.now + 20.0)
            del self.placements[key]

    def change_a_pod(self) -> None:
        name = self.dice.choice(PODS)
        state = PodState.STARTING if self.pods[name].state is PodState.SERVING else PodState.SERVING
        self.pods[name] = replace(self.pods[name], state=state)
        for key in [k for k in self.placements if k[1] == name]:
            del self.placements[key]

    def seen(self) -> Snapshot:
        there = tuple(self.placements.values())
        return Snapshot(LIMITS, dict(self.models), dict(self.pods), there, dict(self.held))

    def play(self) -> None:
        seen = builders.appraised(self.seen(), self.forecaster, self.now)
        decided = plan(seen, self.now)
        self.check(seen, decided)
        for action in decided.actions:
            assert still_holds(action, self.seen(), self.now) is None
            if isinstance(action, Load):
                self.fetched += action.reason is Reason.FORECAST
                state, size = PlacementState.LOADING, action.memory_bytes
                self.placements[action.model, action.pod] = Placement(action.model, action.pod, state, size, self.now)
            elif isinstance(action, Drain):
                key = (action.model, action.pod)
                self.placements[key] = replace(self.placements[key], state=PlacementState.DRAINING)
        for name, where in self.pods.items():
            on = [p for p in self.placements.values() if p.pod == name]
            assert sum(p.memory_bytes for p in on) <= where.capacity_bytes
            assert sum(p.state is PlacementState.LOADING for p in on) <= LOADS_AT_ONCE

    def check(self, seen: Snapshot, decided: Plan) -> None:
        there = {(p.model, p.pod): p for p in seen.placements}
        pairs = [(a.model, a.pod) for a in decided.actions if isinstance(a, Load | Drain)]
        assert len(pairs) == len(set(pairs)), "one change at a time for one model on one pod"
        for action in decided.actions:
            assert isinstance(action, Load | Drain)
            assert action.message
            if isinstance(action, Load):
                assert (action.model, action.pod) not in there
                assert seen.pods[action.pod].state is PodState.SERVING
            else:
                leaving = there[action.model, action.pod]
                assert leaving.state is PlacementState.READY
                assert self.now - leaving.since_seconds >= PROTECTION_SECONDS
                assert action.for_model is not None
                assert seen.models[action.model].priority <= seen.models[action.for_model].priority


@pytest.mark.parametrize("seed", range(4))
def test_thousands_of_steps_break_no_rule(seed: int) -> None:
    game = Game(seed)
    for _ in range(STEPS):
        game.step()
    assert game.fetched > 0, "the forecast took part"
