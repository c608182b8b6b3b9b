"""`python -m e2e.churn`: 100,000 requests while everything happens, `--short` 10,000. Exit status 0: none failed."""

import asyncio
import os
import sys

import click
from rich.markup import escape

from e2e import prometheus, target
from e2e.churn import run, setting
from e2e.churn.ledger import Ledger
from e2e.churn.plan import FULL, SHORT, Plan
from e2e.churn.setting import Scene
from e2e.churn.table import table
from e2e.churn.tally import Tally, last_line, shortfalls, total
from e2e.cluster.images import PROMETHEUS
from e2e.cluster.settings import from_environment
from e2e.saying import CONSOLE, say
from e2e.tests.stage import Stage
from larder.errors import LarderError


@click.command()
@click.option("--short", is_flag=True, help="10,000 requests, every phase once.")
@click.option("--anew", is_flag=True, help="Forget what an interrupted run has done; otherwise it goes on.")
@click.option("--keep", is_flag=True, help="Leave the pool as it is at the end.")
def main(short: bool, anew: bool, keep: bool) -> None:
    """Put a pool under load, let everything happen to it, and tell of every request that did not get its answer."""
    settings, plan = from_environment(), SHORT if short else FULL
    if target.is_given(settings, os.environ):
        say("churn kills processes of this machine's own cluster; KUBECONFIG names another: nothing is done")
        return
    ledger = Ledger(settings.cache / f"churn-{plan.name}.json", plan)
    if anew:
        ledger.forget()
    announce(plan, ledger)
    used = target.use()
    scene = Scene(
        Stage(prometheus.read_by_larder(used, setting.NAMESPACE), setting.NAMESPACE),
        from_environment(),
        used.references[PROMETHEUS],
    )
    with setting.removed_afterwards(used, keep=keep):
        setting.prepare(scene)
        tallies = asyncio.run(run.run(plan, scene, ledger, say))
    ledger.forget()
    sys.exit(0 if tell(tallies, plan) else 1)


def announce(plan: Plan, ledger: Ledger) -> None:
    """Say how long it will take, and what is done already."""
    done = ledger.read()
    left = sum(phase.estimated_seconds for phase in plan.phases[len(done) :])
    say(f"{plan.requests} requests in {len(plan.phases)} phases; about {left / 60:.0f} minutes")
    if done:
        say(f"{len(done)} phases were done by an earlier run, which this one goes on with (--anew begins anew)")


def tell(tallies: list[Tally], plan: Plan) -> bool:
    """Print the table and the last line, and return whether all went well."""
    CONSOLE.print(table(tallies))
    summed = total(tallies)
    troubles = [f"{tally.name}: {tally.trouble}" for tally in tallies if tally.trouble]
    for sentence in (*troubles, *(lacking := list(shortfalls(summed, plan)))):
        CONSOLE.print(escape(sentence))
    CONSOLE.print(last_line(summed))
    return not (summed.failed or summed.wrong or troubles or lacking)


if __name__ == "__main__":
    try:
        main()
    except LarderError as error:
        sys.exit(f"Error: {error}")
