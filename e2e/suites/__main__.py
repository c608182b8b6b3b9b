"""`python -m e2e.suites [SUITE...]`: run all suites, or those named, and say what each took of its share."""

import sys

import click
from rich.console import Console
from rich.table import Table

from e2e import target
from e2e.suites import caches, running, shares
from e2e.suites.running import Outcome, Verdict

CONSOLE = Console(highlight=False)
COLOURS = {Verdict.PASSED: "green", Verdict.FAILED: "red", Verdict.OVER: "red"}


@click.command()
@click.argument("names", nargs=-1)
@click.option("--warm/--from-nothing", "warm", default=None, help="Which shares apply; default: by what is cached.")
@click.option("--keep", is_flag=True, help="Leave the cluster up even if the suites brought it up.")
def main(names: tuple[str, ...], warm: bool | None, keep: bool) -> None:
    """Run the suites of CONTRIBUTING.md, each within its share of the time; exit 1 if any failed or was over."""
    is_warm = caches.are_warm() if warm is None else warm
    suites = chosen(shares.read(shares.CONTRIBUTING.read_text()), names)
    was_up = target.is_up()
    try:
        outcomes = [run(suite, is_warm) for suite in suites]
    finally:
        if not was_up and not keep:
            target.take_down()
    CONSOLE.print(summary(outcomes, is_warm))
    sys.exit(any(outcome.verdict is not Verdict.PASSED for outcome in outcomes))


def chosen(suites: tuple[shares.Suite, ...], names: tuple[str, ...]) -> tuple[shares.Suite, ...]:
    """Return the suites named, or all. Raises UsageError for a name that is none."""
    known = [suite.name for suite in suites]
    for name in names:
        if name not in known:
            raise click.UsageError(f"no suite {name!r}; there are {', '.join(known)}")
    return tuple(suite for suite in suites if not names or suite.name in names)


def run(suite: shares.Suite, is_warm: bool) -> Outcome:
    """Run one suite under a headline and say how it ended."""
    allowed_seconds = suite.warm_seconds if is_warm else suite.from_nothing_seconds
    CONSOLE.rule(f"[bold]{suite.name}[/] {' '.join(suite.command)} (at most {minutes(allowed_seconds)})")
    outcome = running.run(suite.name, suite.command, allowed_seconds, shares.ROOT)
    CONSOLE.print(f"[{COLOURS[outcome.verdict]}]{suite.name}: {outcome.verdict}[/] {spent(outcome)}")
    return outcome


def summary(outcomes: list[Outcome], is_warm: bool) -> Table:
    """Return the table of what each suite took."""
    table = Table(title=f"Suites ({'warm caches' if is_warm else 'from nothing'})", title_justify="left")
    for column in ("suite", "result", "elapsed / allowed"):
        table.add_column(column)
    for outcome in outcomes:
        table.add_row(outcome.suite, f"[{COLOURS[outcome.verdict]}]{outcome.verdict}", spent(outcome))
    elapsed_seconds = sum(outcome.elapsed_seconds for outcome in outcomes)
    table.add_section()
    allowed_seconds = sum(outcome.allowed_seconds for outcome in outcomes)
    table.add_row("all", "", f"{minutes(elapsed_seconds)} / {minutes(allowed_seconds)}")
    return table


def spent(outcome: Outcome) -> str:
    """Return elapsed / allowed as minutes and seconds."""
    return f"{minutes(outcome.elapsed_seconds)} / {minutes(outcome.allowed_seconds)}"


def minutes(seconds: float) -> str:
    """Return `2:05` for 125 seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


if __name__ == "__main__":
    main()
