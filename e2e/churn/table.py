"""The table at a run's end."""

from collections.abc import Sequence

from rich.table import Table

from e2e.churn.tally import Tally, quantile, total


def table(tallies: Sequence[Tally]) -> Table:
    """Return a row for each phase, and one for all."""
    made = Table(title="Churn (latencies of right answers in ms)", title_justify="left")
    for column in ("phase", "requests", "seconds", "loads", "cold", "failed", "wrong", "retried"):
        made.add_column(column, justify="left" if column == "phase" else "right")
    for temperature in ("hot", "cold"):
        for part in ("p50", "p99"):
            made.add_column(f"{temperature} {part}", justify="right")
    for tally in tallies:
        made.add_row(*_cells(tally))
    made.add_section()
    made.add_row(*_cells(total(tallies)))
    return made


def _cells(tally: Tally) -> tuple[str, ...]:
    share = tally.cold_share
    counts = (tally.failed, tally.wrong, tally.retried)
    latencies = (quantile(values, part) for values in (tally.hot_ms, tally.cold_ms) for part in (0.5, 0.99))
    return (
        *(tally.name, str(tally.requests), f"{tally.seconds:.0f}", str(len(tally.loads))),
        "-" if share is None else f"{share:.1%}",
        *(str(count) for count in counts),
        *("-" if value is None else f"{value:.0f}" for value in latencies),
    )
