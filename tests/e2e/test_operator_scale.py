"""What the benchmark of scale makes of an audit log and of the operator's metrics, and which bars it holds."""

import json
import math
from dataclasses import replace

import pytest

from benchmarks.scale_counts import PLAN, Audit, Figures, spelled, times, without_leases

GOOD = Figures(
    models=10_000,
    pods=100,
    rss_mb=400.0,
    start_seconds=8.0,
    idle_writes_per_second=0.5,
    writes_per_change=5.0,
    cold_decision_p99_ms=12.0,
    plan_ms=300.0,
    longest_plan_seconds=0.5,
    index_reads=1,
)


def event(second: int, resource: str, verb: str, subresource: str | None = None) -> str:
    what = {"resource": resource, **({"subresource": subresource} if subresource else {})}
    at = f"2026-01-01T00:00:{second:02}.500000Z"
    return json.dumps({"verb": verb, "requestReceivedTimestamp": at, "objectRef": what}) + "\n"


def page(*counts: float) -> str:
    edges = ("0.1", "0.5", "+Inf")
    lines = [f'larder_plan_seconds_bucket{{pool="p",le="{e}"}} {n}' for e, n in zip(edges, counts, strict=True)]
    lines += [f'larder_plan_seconds_count{{pool="p"}} {counts[-1]}', f'larder_plan_seconds_sum{{pool="p"}} {counts[0]}']
    return "\n".join(["# TYPE larder_plan_seconds histogram", *lines]) + "\n"


def test_writes_are_counted_by_kind_and_the_log_is_read_on(tmp_path) -> None:
    path = tmp_path / "audit.log"
    path.write_text(event(1, "models", "patch", "status") + event(2, "leases", "update"))
    audit = Audit(path)
    first = audit.between(0.0, math.inf)
    with path.open("a") as log:
        log.write(event(3, "events", "create") + event(4, "pods", "patch")[:20])
    later = audit.between(first[-1].at_seconds + 0.1, math.inf)
    assert spelled(first) == "1 models/status patch, 1 leases update"
    assert [write.what for write in without_leases(first)] == ["models/status patch"]
    assert [write.what for write in later] == ["events create"]


def test_times_since_are_those_that_were_added() -> None:
    added = times(page(4.0, 9.0, 9.0), PLAN).since(times(page(2.0, 3.0, 3.0), PLAN))
    assert (added.count, added.longest_at_most_seconds, added.at_most_seconds(0.3)) == (6.0, 0.5, 0.1)
    assert added.mean_ms == pytest.approx(1000.0 * 2.0 / 6.0)


def test_of_nothing_no_mean_is_known() -> None:
    assert math.isnan(times("", PLAN).mean_ms)


def test_the_line_has_every_figure() -> None:
    assert GOOD.line == (
        "scale: models=10000 pods=100 rss_mb=400 start_seconds=8.0 idle_writes_per_second=0.50 "
        "writes_per_change=5.00 cold_decision_p99_ms=12.0 plan_ms=300"
    )
    assert not GOOD.missed()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rss_mb", 501.0),
        ("start_seconds", 10.1),
        ("idle_writes_per_second", 1.1),
        ("writes_per_change", 6.1),
        ("cold_decision_p99_ms", 20.1),
        ("longest_plan_seconds", 5.0),
        ("index_reads", 2),
        ("cold_decision_p99_ms", math.nan),
    ],
)
def test_each_bar_is_held(field: str, value: float) -> None:
    assert len(replace(GOOD, **{field: value}).missed()) == 1
