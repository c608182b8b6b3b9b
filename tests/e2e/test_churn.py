"""What `make churn` counts, draws and keeps, without a cluster."""

import asyncio
import itertools
from pathlib import Path

import pytest

from e2e.churn import host
from e2e.churn.events import HAPPENINGS
from e2e.churn.generator import Generator, Load, Pace
from e2e.churn.ledger import Ledger
from e2e.churn.outcome import Answer, Outcome, Request, Verdict
from e2e.churn.plan import FULL, HOT_MODELS, RESHUFFLED_EVERY, SHORT, Event, Phase, Plan
from e2e.churn.popularity import Popularity, ranking
from e2e.churn.retries import added_up
from e2e.churn.tally import Tally, from_json, last_line, quantile, shortfalls, total

MODELS = [f"model-{number}" for number in range(40)]


def outcome(number: int = 1, *, said: int | None = None, model: str = "a", since_seconds: float = 5.0) -> Outcome:
    """Return what came of a request for model `a`, sent at 10 s and answered after half a second."""
    answer = Answer(number + 1 if said is None else said, model, f"load-{since_seconds}", "pod", since_seconds)
    return Outcome(Request(number, "a", "HTTP", 10.0), 0.5, answer)


def failure() -> Outcome:
    return Outcome(Request(7, "a", "gRPC", 10.0), 0.1, complaint="[StatusCode.UNAVAILABLE] no")


@pytest.mark.parametrize("plan", [SHORT, FULL])
def test_a_run_has_every_event_once_and_as_many_requests_as_it_says(plan: Plan) -> None:
    assert [phase.event for phase in plan.phases] == list(Event)
    assert plan.requests >= {"short": 10_000, "full": 100_000}[plan.name]
    assert plan.estimated_seconds < {"short": 6 * 60, "full": 90 * 60}[plan.name]


def test_everything_that_a_plan_names_can_be_brought_about() -> None:
    assert set(HAPPENINGS) == set(Event)


def test_popularity_follows_zipf_and_hot_clients_keep_to_the_hottest() -> None:
    popularity = Popularity(MODELS, seed=1)
    ranked = ranking(MODELS, 1, 0)
    free = [popularity.draw(0, free=True) for _ in range(20_000)]
    assert free.count(ranked[0]) / free.count(ranked[3]) == pytest.approx(4, rel=0.2)
    assert {popularity.draw(0, free=False) for _ in range(2_000)} == set(ranked[:HOT_MODELS])


def test_popularity_is_reshuffled_every_so_many_requests() -> None:
    assert ranking(MODELS, 1, 0) == ranking(MODELS, 1, RESHUFFLED_EVERY - 1)
    assert ranking(MODELS, 1, 0) != ranking(MODELS, 1, RESHUFFLED_EVERY)
    assert sorted(ranking(MODELS, 1, RESHUFFLED_EVERY)) == sorted(MODELS)


@pytest.mark.parametrize(
    ("came", "verdict"),
    [
        (outcome(), Verdict.RIGHT),
        (outcome(said=9), Verdict.WRONG),
        (outcome(model="b"), Verdict.WRONG),
        (failure(), Verdict.FAILED),
    ],
)
def test_only_the_right_value_from_the_right_model_is_right(came: Outcome, verdict: Verdict) -> None:
    assert came.verdict is verdict


def test_a_request_is_cold_when_what_answered_was_loaded_after_it_was_sent() -> None:
    assert outcome(since_seconds=10.2).is_cold
    assert not outcome(since_seconds=9.9).is_cold
    assert not failure().is_cold


def test_a_tally_counts_and_survives_being_kept() -> None:
    tally = Tally("phase")
    for came in (outcome(), outcome(since_seconds=10.2), outcome(said=9), failure()):
        tally.add(came)
    assert (tally.requests, tally.failed, tally.wrong, tally.cold_share) == (4, 1, 1, 0.5)
    assert "request=7 model=a gRPC" in tally.complaints[1]
    assert from_json(tally.as_json()) == tally


def test_a_load_that_answered_in_two_phases_is_one() -> None:
    tallies = [Tally("one"), Tally("two")]
    for tally in tallies:
        tally.add(outcome())
    assert last_line(total(tallies)) == "churn: requests=2 loads=1 cold=0.0% failed=0 wrong=0"
    assert last_line(Tally("none")) == "churn: requests=0 loads=0 cold=none failed=0 wrong=0"


def test_a_run_with_too_few_requests_loads_or_cold_ones_shows_nothing() -> None:
    small = Plan("small", (Phase(Event.SCALING, 2, 1),), loads=2)
    tally = Tally("phase")
    tally.add(outcome())
    assert list(shortfalls(tally, small)) == [
        "1 requests, not 2",
        "1 loads, not 2",
        "less than 2% of the requests were cold",
    ]
    tally.add(outcome(since_seconds=10.2))
    assert list(shortfalls(tally, small)) == []


def test_quantiles_of_nothing_are_nothing() -> None:
    assert quantile([], 0.5) is None
    assert [quantile([3.0, 1.0, 2.0], part) for part in (0.0, 0.5, 0.99)] == [1.0, 2.0, 3.0]


def test_an_interrupted_run_goes_on_and_another_plan_begins_anew(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "kept.json", SHORT)
    assert ledger.read() == []
    ledger.write([Tally("one", requests=3)])
    assert ledger.read() == [Tally("one", requests=3)]
    assert Ledger(ledger.path, Plan("short", (Phase(Event.SCALING, 1, 1),), loads=1)).read() == []
    ledger.forget()
    assert ledger.read() == []


def test_turns_are_at_equal_distances_and_not_caught_up() -> None:
    pace = Pace(10.0)
    assert [pace.delay_seconds(5.0) for _ in range(3)] == pytest.approx([0.0, 0.1, 0.2])
    assert pace.delay_seconds(50.0) == 0.0
    assert Pace(None).delay_seconds(1.0) == Pace(None).delay_seconds(1.0) == 0.0


def test_a_stub_is_not_taken_for_the_server_in_whose_folder_it_is() -> None:
    stub = "/opt/tritonserver/backends/python/triton_python_backend_stub /models/a/1/model.py tritonserver"
    assert not host.runs(stub, "tritonserver")
    assert host.runs(stub, "triton_python_backend_stub")
    assert host.runs("/opt/tritonserver/bin/tritonserver --model-repository=/models", "tritonserver")
    assert host.runs("/usr/bin/python3 /usr/local/bin/kopf run", "kopf")


class Echo:
    """A client that always gets its answer."""

    async def ask(self, model: str, number: int) -> Outcome:
        await asyncio.sleep(0)
        return Outcome(Request(number, model, "HTTP", 10.0), 0.1, Answer(number + 1, model, "load", "pod", 0.0))

    async def close(self) -> None: ...


async def test_every_request_has_a_number_of_its_own_and_is_told_once() -> None:
    told: list[Outcome] = []
    load = Load(Pace(None), 1, lambda: len(told) >= 50, told.append)
    await Generator([Echo(), Echo(), Echo()], Popularity(MODELS, 1), first_number=100).run(load)
    numbers = sorted(came.request.number for came in told)
    assert numbers == list(itertools.islice(itertools.count(100), len(told)))
    assert len(told) >= 50


def test_retries_of_activator_and_envoy_are_added_up() -> None:
    text = (
        "# TYPE larder_gateway_retries_total counter\n"
        "larder_gateway_retries_total 3.0\n"
        'envoy_cluster_upstream_rq_retry{envoy_cluster_name="pool_http"} 4\n'
        'envoy_cluster_upstream_rq_retry_success{envoy_cluster_name="pool_http"} 4\n'
    )
    assert added_up(text) == 7
