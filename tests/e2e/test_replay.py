"""What `make replay` cuts, counts, compares and draws, without a cluster."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from e2e.churn.outcome import Answer, Outcome, Request
from e2e.replay import plot, setting
from e2e.replay.excerpt import SMALL, Cut, Excerpt, compressed, read
from e2e.replay.plan import FULL, PODS_MAX, SHORT, Plan
from e2e.replay.playing import Played, play
from e2e.replay.run import Measures, Seen
from e2e.replay.simulated import Figures, Fixed, Simulation
from e2e.replay.timeline import resizings, steps, table
from e2e.replay.verdict import Verdict, figures, is_met
from e2e.replay.watching import Sample, pod_seconds, stop_seconds
from larder.core.simulation.workload import Workload
from larder.core.snapshot import Objective

NOWHERE = Path("/nonexistent")
CUT = Cut(first_minute=10, minutes=60, compression=10.0, models=12)
UNMEASURED = Measures(None, None, None)


@pytest.fixture(scope="module")
def excerpt() -> Excerpt:
    """An excerpt of the repository's small trace."""
    return read(CUT, NOWHERE)


def sample(at_seconds: float, pods: int) -> Sample:
    return Sample(at_seconds, pods, pods, 3, 4, 100, 200)


def played(latency_seconds: float = 0.1, *, cold: bool = False, right: bool = True, due: float = 1.0) -> Played:
    return Played(0, due, 0.0, latency_seconds, cold, right, "a")


def verdict(seen: Figures, foretold: Figures, pods: int = 2) -> Verdict:
    return Verdict(1000, 0, seen, foretold, 0.99, Fixed(pods, (0.9, 0.99), 100.0))


def test_without_the_shared_traces_the_small_one_of_the_repository_is_played_and_named(excerpt: Excerpt) -> None:
    assert SMALL.is_dir()
    assert "small trace" in excerpt.source
    assert excerpt.workload.requests > 0
    assert all(len(times) for times in excerpt.workload.arrivals)


def test_time_is_compressed_everywhere_and_the_requests_stay_the_same() -> None:
    slow, fast = (read(Cut(10, 60, by, 12), NOWHERE).workload for by in (1.0, 10.0))
    assert fast.requests == slow.requests
    assert fast.duration_seconds == slow.duration_seconds / 10 == 360
    assert fast.load_seconds == compressed(slow, 10.0).load_seconds
    assert fast.execution_seconds[0] == slow.execution_seconds[0] / 10


def test_a_cut_beyond_the_end_of_a_trace_begins_it_again() -> None:
    assert read(Cut(170, 60, 10.0, 12), NOWHERE).workload.requests > 0


@pytest.mark.parametrize("plan", [FULL, SHORT])
def test_the_pool_has_memory_for_a_third_of_the_models_in_a_pod(plan: Plan) -> None:
    cut = read(plan.cut)
    memory = setting.pool_settings(plan, cut)["memory"]
    capacity_mib = int(memory["budget"][:-2]) * setting.HIGH_MARK - int(memory["base"][:-2])
    held_mib = cut.workload.total_bytes / setting.MIB
    assert len(cut.workload.names) >= (30 if "Azure" in cut.source else 20)
    assert capacity_mib == pytest.approx(held_mib / 3, abs=2)


def test_every_model_declares_the_objective_of_the_fleet_benchmark(excerpt: Excerpt) -> None:
    specs = setting.model_specs(excerpt)
    assert [("coldStart" in spec["slo"]) for spec in specs[:6]] == [True, True, False] * 2
    first = excerpt.workload.execution_seconds[0]
    assert specs[0]["slo"]["latency"] == f"{round(5000 * first)}ms"


def test_a_request_is_sent_when_it_is_due_whether_or_not_those_before_were_answered() -> None:
    sent: list[int] = []
    answer = asyncio.Event()

    class Slow:
        async def ask(self, model: str, number: int) -> Outcome:
            sent.append(number)
            if len(sent) == 3:
                answer.set()
            await answer.wait()
            return Outcome(Request(number, model, "HTTP", 0.0), 0.5, Answer(number + 1, model, "load", "pod", 1.0))

        async def close(self) -> None:
            return

    workload = Workload(("a",), (1,), (1.0,), (0.1,), (np.array([0.0, 0.01, 0.02]),), 0.03)
    told: list[Played] = []
    asyncio.run(play(workload, [Slow()], lambda one, _: told.append(one)))
    assert sent == [0, 1, 2]
    assert [one.is_right and one.is_cold for one in told] == [True] * 3
    assert all(one.latency_seconds >= 0.5 + one.late_seconds for one in told)


def test_pods_cost_from_when_they_are_until_they_are_gone() -> None:
    samples = [sample(9.0, 1), sample(11.0, 2), sample(15.0, 1)]
    assert pod_seconds(samples, 10.0, 20.0) == 1 * 1 + 2 * 4 + 1 * 5


def test_what_a_pod_takes_to_go_is_seen_from_its_deletion_on() -> None:
    looks = [replace(sample(float(at), 2), going=going) for at, going in enumerate((0, 1, 1, 1, 0, 1, 0))]
    assert stop_seconds(looks) == 2.0
    assert stop_seconds(looks[:3]) is None


@pytest.mark.parametrize(
    ("one", "met"),
    [
        (played(0.2), True),
        (played(0.3), False),
        (played(1.1, cold=True), True),
        (played(1.3, cold=True), False),
        (played(0.1, right=False), False),
    ],
)
def test_only_a_cold_request_has_the_longest_cold_start_on_top(one: Played, met: bool) -> None:
    assert is_met(one, [Objective(0.25, 99.0, 1.0)]) is met


def test_a_run_without_a_shortfall_says_nothing_and_each_shortfall_is_a_sentence() -> None:
    good = Figures(0.985, 0.020, 50, 150.0)
    assert not list(verdict(good, good).shortfalls())
    bad = Figures(0.95, 0.030, 50, 220.0)
    assert len(list(verdict(bad, good).shortfalls())) == 5


def test_the_last_line_has_every_figure() -> None:
    good = Figures(0.985, 0.020, 50, 150.0)
    assert verdict(good, good).last_line() == (
        "replay: requests=1000 failed=0 attainment=0.9850 feasible=0.9900 pod_seconds=150 static_pod_seconds=200"
    )


def test_what_was_measured_replaces_what_the_profiles_say_in_the_simulation(excerpt: Excerpt) -> None:
    count = len(excerpt.workload.names)
    measures = (Measures(50 * 2**20, 0.9, 0.05), *[UNMEASURED] * (count - 1))
    seen = Seen((), (), 0.0, measures, 4.0, 5.0)
    simulation = Simulation(excerpt, setting.objectives(excerpt), seen, setting.capacity_mib(excerpt) * 2**20)
    assert (simulation.workload.sizes_bytes[0], simulation.workload.load_seconds[0]) == (50 * 2**20, 0.9)
    assert simulation.workload.load_seconds[1] == excerpt.workload.load_seconds[1]
    plan = Plan("small", CUT)
    found, feasible = simulation.larder(plan), simulation.feasible()
    assert 0.0 < found.attainment <= 1.0
    assert feasible >= 0.9
    assert found.pod_seconds >= excerpt.workload.duration_seconds
    assert simulation.fixed(plan, 0.0).pods == 1


def test_timeline_and_plot_show_a_run(excerpt: Excerpt, tmp_path: Path) -> None:
    looks = tuple(sample(float(at), 1 + at % 3) for at in range(10))
    asked = tuple(played(due=at / 2, cold=at == 3) for at in range(20))
    seen = Seen(asked, looks, 15.0, (UNMEASURED,), None, None)
    objectives = [Objective(0.25)]
    found = steps(seen, 10.0, 5, objectives)
    assert [step.requests for step in found] == [4] * 5
    assert [step.cold for step in found] == [1 - 0, 0, 0, 0, 0]
    assert table(found, 10.0, 660).row_count == 5
    plot.draw(tmp_path / "run.png", "a run", found, looks, PODS_MAX)
    assert (tmp_path / "run.png").stat().st_size > 10_000
    assert figures(seen, objectives).cold_share == pytest.approx(1 / 20)


def test_each_change_of_the_number_of_pods_is_told_with_what_the_pool_said_of_it() -> None:
    samples = [
        replace(sample(1.0, 1), why="one"),
        replace(sample(2.0, 2), why="a burst"),
        replace(sample(3.0, 2), going=1, why="quiet"),
        replace(sample(4.0, 1), why="quiet"),
    ]
    assert resizings(samples) == ((2.0, "a burst"), (3.0, "quiet"))
