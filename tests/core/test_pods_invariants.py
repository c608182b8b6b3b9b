"""Plans against a cluster that makes and deletes pods as a ReplicaSet does, in any order of events."""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from larder.core.plan import Dismiss, Drain, Keep, Load, Reason, Retire, Scale
from larder.core.planner import plan
from larder.core.recheck import still_holds
from larder.core.snapshot import Placement, PlacementState, Pod, PodState, Retirement, Settings, Snapshot
from tests.core.builders import MB, NOW, model, pod

NAMES = ["a", "b", "c", "d"]
CAPACITY = 25
MOST = 3


class PodsAgainstCluster(RuleBasedStateMachine):
    """Pods start, serve, leak, fail and go; users change the limits; one plan after the other is applied."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.asked, self.counted, self.made = NOW, 1, 0, 0
        self.limits = Settings(10 * MB, min_pods=1, max_pods=MOST, protection_seconds=0.0)
        self.models = {name: model(name) for name in NAMES}
        self.pods: dict[str, Pod] = {}
        self.placements: dict[tuple[str, str], Placement] = {}

    def seen(self) -> Snapshot:
        there = tuple(p for p in self.placements.values() if p.pod in self.pods)
        return Snapshot(self.limits, self.models, self.pods, there, asked_pods=self.asked, ready_pods=self.counted)

    def alive(self) -> list[Pod]:
        return [p for p in self.pods.values() if p.state is not PodState.TERMINATING]

    @rule(step=st.sampled_from([1.0, 10.0, 40.0, 400.0]))
    def time_passes(self, step: float) -> None:
        self.now += step

    @rule(fixed=st.one_of(st.none(), st.integers(0, MOST)), least=st.integers(0, 2), surge=st.integers(0, 1))
    def the_user_changes_the_pool(self, fixed: int | None, least: int, surge: int) -> None:
        self.limits = replace(self.limits, fixed_pods=fixed, min_pods=least, surge_pods=surge)

    @rule(pick=st.integers(0, 9))
    def a_pod_serves(self, pick: int) -> None:
        starting = [p for p in self.pods.values() if p.state is PodState.STARTING]
        if starting:
            found = starting[pick % len(starting)]
            self.pods[found.name] = replace(found, state=PodState.SERVING, ready=True)

    @rule(pick=st.integers(0, 9), ready=st.booleans())
    def a_pod_is_found_ready_or_not(self, pick: int, ready: bool) -> None:
        serving = [p for p in self.pods.values() if p.state is PodState.SERVING]
        if serving:
            found = serving[pick % len(serving)]
            self.pods[found.name] = replace(found, ready=ready)

    @rule(pick=st.integers(0, 9))
    def a_pod_leaks_or_heals(self, pick: int) -> None:
        able = [p for p in self.pods.values() if p.state in (PodState.SERVING, PodState.LEAKING)]
        if able:
            found = able[pick % len(able)]
            leaks = found.state is PodState.SERVING
            state = PodState.LEAKING if leaks else PodState.SERVING
            self.pods[found.name] = replace(found, state=state, leaking=leaks)

    @rule(name=st.sampled_from(NAMES), pick=st.integers(0, 9))
    def a_model_is_there(self, name: str, pick: int) -> None:
        serving = [p.name for p in self.pods.values() if p.state is PodState.SERVING]
        if serving and not any(key[0] == name for key in self.placements):
            where = serving[pick % len(serving)]
            if sum(p.memory_bytes for p in self.placements.values() if p.pod == where) <= (CAPACITY - 10) * MB:
                self.placements[name, where] = Placement(name, where, PlacementState.READY, 10 * MB, self.now)

    @rule()
    def loads_and_unloads_end(self) -> None:
        for key, found in list(self.placements.items()):
            if found.state is PlacementState.LOADING:
                self.placements[key] = replace(found, state=PlacementState.READY)
            elif found.state is PlacementState.DRAINING:
                del self.placements[key]

    @rule(ends=st.booleans())
    def the_cluster_acts(self, ends: bool) -> None:
        """One step of the ReplicaSet: it counts, makes one pod or deletes one, in its own order."""
        alive = self.alive()
        self.counted = sum(p.ready for p in alive)
        if len(alive) < self.asked:
            self.made += 1
            name = f"p{self.made}"
            self.pods[name] = replace(pod(name, CAPACITY, PodState.STARTING), ready=False)
        elif len(alive) > self.asked:
            told = {p.name: bool(p.retirement and p.retirement.told_seconds) for p in alive}
            order = sorted(alive, key=lambda p: (p.state is not PodState.STARTING, p.ready, not told[p.name], p.name))
            self.pods[order[0].name] = replace(order[0], state=PodState.TERMINATING, ready=False)
        for found in [p for p in self.pods.values() if p.state is PodState.TERMINATING and ends]:
            del self.pods[found.name]
            self.placements = {key: p for key, p in self.placements.items() if p.pod != found.name}

    @rule()
    def a_plan_is_applied(self) -> None:
        for action in plan(self.seen(), self.now).actions:
            if still_holds(action, self.seen(), self.now) is None:
                self.apply(action)

    def apply(self, action: object) -> None:
        match action:
            case Load(name, where, size):
                self.placements[name, where] = Placement(name, where, PlacementState.LOADING, size, self.now)
            case Drain(name, where):
                key = (name, where)
                self.placements[key] = replace(self.placements[key], state=PlacementState.DRAINING)
            case Retire(where, reason, surge=surge):
                mark = Retirement(reason, self.now, surge)
                self.pods[where] = replace(self.pods[where], state=PodState.RETIRING, retirement=mark)
            case Dismiss():
                self.dismiss(action)
            case Keep(where):
                kept = self.pods[where]
                state = PodState.LEAKING if kept.leaking else PodState.SERVING
                self.pods[where] = replace(kept, state=state, retirement=None, ready=True)
            case Scale():
                self.scale(action)

    def dismiss(self, action: Dismiss) -> None:
        mark = self.pods[action.pod].retirement
        assert mark is not None
        if self.now - mark.since_seconds < 300:
            for name in [p.model for p in self.placements.values() if p.pod == action.pod]:
                elsewhere = any(
                    p.model == name and p.state is PlacementState.READY and p.pod != action.pod
                    for p in self.placements.values()
                )
                assert elsewhere or name in action.message, "a model is ready elsewhere, or said to become cold"
        told = replace(mark, told_seconds=self.now, to_pods=action.to_pods, back_to_pods=action.back_to_pods)
        self.pods[action.pod] = replace(self.pods[action.pod], retirement=told, ready=False)

    def scale(self, action: Scale) -> None:
        least = self.limits.min_pods if self.limits.fixed_pods is None else self.limits.fixed_pods
        most = self.limits.max_pods if self.limits.fixed_pods is None else self.limits.fixed_pods
        if action.reason is not Reason.RECYCLE:
            assert action.pods >= least, "never below the minimum by our decision"
        if action.pods > self.asked:
            assert action.pods <= most + 1, "one pod beyond the maximum at most"
        if action.reason is Reason.POOL_SCALE_DOWN and action.victim is not None:
            assert action.pods == self.asked - 1, "one pod at a time"
        self.asked = action.pods

    @invariant()
    def one_pod_at_a_time_is_chosen_to_go(self) -> None:
        assert sum(p.retirement is not None for p in self.alive()) <= 1

    @invariant()
    def no_budget_is_exceeded(self) -> None:
        for name in self.pods:
            assert sum(p.memory_bytes for p in self.placements.values() if p.pod == name) <= CAPACITY * MB

    def teardown(self) -> None:
        """Whatever happened, left alone the pool comes to rest at its number, with no pod marked."""
        for name, found in self.pods.items():
            serves = found.state in (PodState.SERVING, PodState.LEAKING)
            self.pods[name] = replace(found, ready=found.ready or serves)
        for _ in range(60):
            self.a_plan_is_applied()
            self.the_cluster_acts(True)
            self.a_pod_serves(0)
            self.loads_and_unloads_end()
            self.now += 40.0
        alive = self.alive()
        wanted = self.limits.fixed_pods
        least, most = (self.limits.min_pods, MOST) if wanted is None else (wanted, wanted)
        assert least <= len(alive) <= most and self.asked == len(alive)
        assert all(p.state is PodState.SERVING for p in alive)


TestPodsAgainstCluster = PodsAgainstCluster.TestCase
TestPodsAgainstCluster.settings = settings(max_examples=120, stateful_step_count=50, deadline=None)
