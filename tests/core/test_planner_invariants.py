"""What every plan obeys, over random snapshots and over histories in which the planner plays against a world."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from larder.core.plan import Drain, Load, Plan
from larder.core.planner import plan
from larder.core.recheck import still_holds
from larder.core.snapshot import Model, Placement, PlacementState, PodState, Settings, Snapshot, Waiting
from tests.core.builders import MB, NOW, model, placed, pod, waiting

NAMES = [f"m{n}" for n in range(6)]
PODS = ["p0", "p1", "p2"]


@st.composite
def models(draw: st.DrawFn, name: str) -> Model:
    return model(
        name,
        draw(st.one_of(st.none(), st.integers(1, 40))),
        priority=draw(st.integers(0, 2)),
        min_copies=draw(st.integers(0, 2)),
        max_copies=draw(st.one_of(st.none(), st.integers(2, 3))),
        revision=draw(st.sampled_from(["1", "2"])),
        deleted=draw(st.booleans()) and draw(st.booleans()),
        retry_at_seconds=draw(st.one_of(st.none(), st.floats(NOW - 10, NOW + 10))),
    )


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    known = {n: draw(models(n)) for n in NAMES if draw(st.integers(0, 4))}
    pods = {n: pod(n, draw(st.integers(10, 60)), draw(st.sampled_from(PodState))) for n in PODS if draw(st.booleans())}
    there = [
        placed(
            n,
            p,
            draw(st.integers(1, 30)),
            draw(st.sampled_from(PlacementState)),
            since=draw(st.floats(NOW - 100, NOW)),
            used=draw(st.one_of(st.none(), st.floats(NOW - 100, NOW))),
            revision=draw(st.sampled_from(["1", "2"])),
        )
        for n in NAMES
        for p in pods
        if not draw(st.integers(0, 3))
    ]
    held = {n: waiting(n, draw(st.integers(1, 9))) for n in NAMES if draw(st.booleans())}
    limits = Settings(10 * MB, loads_at_once=draw(st.integers(1, 3)), max_pods=3)
    return Snapshot(limits, known, pods, tuple(there), held)


def pod_usage(seen: Snapshot, name: str) -> int:
    return sum(p.memory_bytes for p in seen.placements if p.pod == name)


def assert_obeys_the_rules(seen: Snapshot, decided: Plan, now: float = NOW) -> None:
    pairs = [(a.model, a.pod) for a in decided.actions if isinstance(a, Load | Drain)]
    assert len(pairs) == len(set(pairs)), "one change at a time for one model on one pod"
    there = {(p.model, p.pod): p for p in seen.placements}
    for name, where in seen.pods.items():
        arriving = [a for a in decided.actions if isinstance(a, Load) and a.pod == name]
        if arriving:
            assert where.state is PodState.SERVING
            assert pod_usage(seen, name) + sum(a.memory_bytes for a in arriving) <= where.capacity_bytes
            running = sum(p.state is PlacementState.LOADING for p in seen.placements if p.pod == name)
            assert running + len(arriving) <= seen.settings.loads_at_once
    for action in decided.actions:
        assert not isinstance(action, Load | Drain) or action.message
        if isinstance(action, Load):
            assert (action.model, action.pod) not in there
            assert (seen.models[action.model].retry_at_seconds or 0) <= now
            assert not seen.models[action.model].deleted
        if isinstance(action, Drain):
            assert there[action.model, action.pod].state is PlacementState.READY
            assert_may_leave(seen, action, there[action.model, action.pod], now)


def assert_may_leave(seen: Snapshot, action: Drain, placement: Placement, now: float) -> None:
    if action.for_model is None:
        return
    leaver, newcomer = seen.models.get(action.model), seen.models[action.for_model]
    if leaver is None or leaver.deleted:
        return
    assert leaver.priority <= newcomer.priority
    overfull = pod_usage(seen, action.pod) > seen.pods[action.pod].capacity_bytes
    assert overfull or now - placement.since_seconds >= seen.settings.protection_seconds


@given(snapshots())
@settings(max_examples=400, deadline=None)
def test_every_plan_obeys_the_rules_that_always_hold(seen: Snapshot) -> None:
    assert_obeys_the_rules(seen, plan(seen, NOW))


@given(snapshots(), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_a_plan_does_not_depend_on_the_order_of_what_is_seen(seen: Snapshot, order: object) -> None:
    shuffled = list(seen.placements)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    turned = replace(
        seen,
        placements=tuple(shuffled),
        models=dict(reversed(seen.models.items())),
        pods=dict(reversed(seen.pods.items())),
        waiting=dict(reversed(seen.waiting.items())),
    )
    assert plan(seen, NOW) == plan(turned, NOW)


@given(snapshots())
@settings(max_examples=150, deadline=None)
def test_the_first_load_and_every_drain_of_a_plan_hold_in_the_snapshot_it_was_made_from(seen: Snapshot) -> None:
    actions = plan(seen, NOW).actions
    for action in [a for a in actions if isinstance(a, Drain)] + [a for a in actions if isinstance(a, Load)][:1]:
        assert still_holds(action, seen, NOW) is None


class PlannerAgainstWorld(RuleBasedStateMachine):
    """The world loads, drains and unloads as the plan says, in any order; requests come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.held: dict[str, Waiting] = {}
        self.placements: dict[tuple[str, str], Placement] = {}

    @initialize(sizes=st.lists(st.integers(1, 25), min_size=6, max_size=6), capacity=st.integers(25, 60))
    def begin(self, sizes: list[int], capacity: int) -> None:
        self.models = {n: model(n, s, min_copies=int(n == "m0")) for n, s in zip(NAMES, sizes, strict=True)}
        self.pods = {n: pod(n, capacity) for n in PODS}

    def seen(self) -> Snapshot:
        placements = tuple(self.placements.values())
        return Snapshot(Settings(10 * MB, max_pods=3), self.models, self.pods, placements, dict(self.held))

    @rule(name=st.sampled_from(NAMES))
    def request(self, name: str) -> None:
        ready = [k for k, p in self.placements.items() if k[0] == name and p.state is PlacementState.READY]
        for key in ready:
            self.placements[key] = replace(self.placements[key], last_used_seconds=self.now)
        if not ready:
            count = self.held[name].count + 1 if name in self.held else 1
            self.held[name] = Waiting(name, count, self.now, self.now + 30)

    @rule(step=st.floats(0.1, 40))
    def time_passes(self, step: float) -> None:
        self.now += step

    @rule(pick=st.integers(0, 10))
    def something_moves_on(self, pick: int) -> None:
        moving = [k for k, p in self.placements.items() if p.state is not PlacementState.READY]
        if not moving:
            return
        key = moving[pick % len(moving)]
        placement = self.placements[key]
        if placement.state is PlacementState.LOADING:
            self.placements[key] = replace(placement, state=PlacementState.READY, since_seconds=self.now)
            self.held.pop(key[0], None)
        elif placement.state is PlacementState.DRAINING:
            self.placements[key] = replace(placement, state=PlacementState.UNLOADING)
        else:
            del self.placements[key]

    @rule()
    def plan_and_apply(self) -> None:
        seen = self.seen()
        decided = plan(seen, self.now)
        assert_obeys_the_rules(seen, decided, self.now)
        for action in decided.actions:
            assert still_holds(action, self.seen(), self.now) is None
            if isinstance(action, Load):
                loading = Placement(
                    action.model, action.pod, PlacementState.LOADING, action.memory_bytes, self.now, action.revision
                )
                self.placements[action.model, action.pod] = loading
            elif isinstance(action, Drain):
                key = (action.model, action.pod)
                self.placements[key] = replace(self.placements[key], state=PlacementState.DRAINING)

    @invariant()
    def no_budget_is_exceeded(self) -> None:
        for name, where in getattr(self, "pods", {}).items():
            assert sum(p.memory_bytes for p in self.placements.values() if p.pod == name) <= where.capacity_bytes


TestPlannerAgainstWorld = PlannerAgainstWorld.TestCase
TestPlannerAgainstWorld.settings = settings(max_examples=40, stateful_step_count=60, deadline=None)
