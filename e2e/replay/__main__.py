"""`python -m e2e.replay`: a real trace against a pool on the cluster; exit status 0 if all holds that must."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import click
from rich.table import Table

from e2e import target
from e2e.cluster.settings import from_environment
from e2e.replay import plot, setting
from e2e.replay.excerpt import Excerpt, read
from e2e.replay.plan import FULL, PODS_MAX, SHORT, Plan
from e2e.replay.run import Seen, play_on
from e2e.replay.simulated import Simulation
from e2e.replay.timeline import clock, resizings, steps, table
from e2e.replay.verdict import Verdict, figures
from e2e.saying import CONSOLE, say
from e2e.tests.stage import Stage
from larder.errors import LarderError

STEPS = 24
PLOT_STEPS = 72


@click.command()
@click.option("--short", is_flag=True, help="A minute; answers are judged, shares are not.")
@click.option("--keep", is_flag=True, help="Leave the pool as it is at the end.")
@click.option("--plot", "plot_path", type=click.Path(path_type=Path), help="Where the plot goes; default: the cache.")
def main(short: bool, keep: bool, plot_path: Path | None) -> None:
    """Play a part of a trace against a pool and through the simulator, and say how far both agree."""
    plan = SHORT if short else FULL
    excerpt = read(plan.cut)
    announce(plan, excerpt)
    used = target.use()
    stage = Stage(setting.with_compressed_time(used, plan.cut.interval_seconds), setting.NAMESPACE)
    folder = from_environment(os.environ).cache
    try:
        setting.prepare(stage, plan, excerpt)
        seen = play_on(stage, excerpt, say)
    finally:
        if not keep:
            setting.remove(used)
    keep_record(folder / f"replay-{plan.name}.json", seen)
    verdict = judge(plan, excerpt, seen)
    show(plan, excerpt, seen, verdict, plot_path or folder / f"replay-{plan.name}.png")
    sys.exit(0 if conclude(plan, verdict) else 1)


def announce(plan: Plan, excerpt: Excerpt) -> None:
    """Say what is played."""
    cut, workload = plan.cut, excerpt.workload
    say(f"trace: {excerpt.source}; {cut.minutes} minutes from minute {cut.first_minute}, {cut.compression:g} x faster")
    say(
        f"{len(workload.names)} models of {workload.total_bytes / 2**20:.0f} MiB in all, "
        f"{setting.capacity_mib(excerpt)} MiB for models in a pod"
    )


def keep_record(path: Path, seen: Seen) -> None:
    """Keep what was seen, to look at it again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(seen)))
    say(f"what was seen is in {path}")


def judge(plan: Plan, excerpt: Excerpt, seen: Seen) -> Verdict:
    """Simulate what was measured, and hold the run against it."""
    objectives = setting.objectives(excerpt)
    capacity = setting.capacity_mib(excerpt) * 2**20
    simulation = Simulation(excerpt, objectives, seen, capacity)
    found = figures(seen, objectives)
    return Verdict(
        requests=len(seen.played),
        failed=sum(not one.is_right for one in seen.played),
        seen=found,
        foretold=simulation.larder(plan),
        feasible=simulation.feasible(),
        fixed=simulation.fixed(plan, found.attainment),
    )


def show(plan: Plan, excerpt: Excerpt, seen: Seen, verdict: Verdict, picture: Path) -> None:
    """Print timeline and comparison, and draw."""
    objectives, seconds = setting.objectives(excerpt), excerpt.workload.duration_seconds
    CONSOLE.print(table(steps(seen, seconds, STEPS, objectives), plan.cut.compression, plan.cut.first_minute))
    CONSOLE.print(compared(seen, verdict))
    for where, found in (("cluster", resizings(seen.samples)), ("simulator", verdict.foretold.resizings)):
        for at_seconds, why in found:
            CONSOLE.print(f"{where}, {clock(at_seconds)}: {why}")
    title = (
        f"{excerpt.source}, {plan.cut.minutes} minutes in {seconds / 60:.0f}: {len(excerpt.workload.names)} models, "
        f"memory for a third in a pod\n{verdict.last_line().removeprefix('replay: ')}"
    )
    plot.draw(picture, title, steps(seen, seconds, PLOT_STEPS, objectives), seen.samples, PODS_MAX)
    say(f"plot: {picture}")


def compared(seen: Seen, verdict: Verdict) -> Table:
    """Return the run and its simulation side by side."""
    made = Table(title="Cluster and simulator", title_justify="left")
    for column in ("", "cluster", "simulator"):
        made.add_column(column, justify="right" if column else "left")
    one, other = verdict.seen, verdict.foretold
    made.add_row("attainment", f"{one.attainment:.4f}", f"{other.attainment:.4f}")
    made.add_row("cold share", f"{one.cold_share:.4f}", f"{other.cold_share:.4f}")
    made.add_row("loads that answered / loads", str(one.loads), str(other.loads))
    made.add_row("pod-seconds", f"{one.pod_seconds:.0f}", f"{other.pod_seconds:.0f}")
    reached = ", ".join(f"{pods}: {share:.4f}" for pods, share in enumerate(verdict.fixed.attainments, 1))
    made.add_row("fixed pods (simulator)", "", reached)
    for what, seconds in (("start of a pod", seen.start_seconds), ("end of a pod", seen.stop_seconds)):
        made.add_row(what, "never seen" if seconds is None else f"{seconds:.1f} s", "as measured")
    return made


def conclude(plan: Plan, verdict: Verdict) -> bool:
    """Print what does not hold and the last line; return whether all that is judged holds."""
    lacking = list(verdict.shortfalls())
    for sentence in lacking:
        say(sentence if plan.judged else f"not judged in so short a run: {sentence}")
    CONSOLE.print(verdict.last_line())
    return not verdict.failed and not (plan.judged and lacking)


if __name__ == "__main__":
    try:
        main()
    except LarderError as error:
        sys.exit(f"Error: {error}")
