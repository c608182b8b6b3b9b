"""How much a cold request costs over Triton's own load: first answer - Triton's load - a hot answer, model by model.

Each of `--loads` models is asked for the first time on a pool with memory for all of them, one after the other, and
then a few times more while it is hot. Triton's own load time is that between two lines of its log. The cluster's etcd
syncs to disk. Clients talk to the Service's address where this machine reaches it, else through port-forward.

    python -m benchmarks.coldstart --loads 60
"""

import contextlib
import json
import re
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import Final

import click
import urllib3
from rich.console import Console
from rich.progress import track
from urllib3.exceptions import HTTPError

from e2e import chart, models, target
from e2e.kube import WaitTimeoutError
from e2e.tests.stage import POOL, Pool, Stage, new_namespace
from larder.api.names import GRPC_PORT, HTTP_PORT
from larder.errors import LarderError

HOT_REQUESTS: Final = 5
MODEL_MIB: Final = 64
LOADING: Final = re.compile(r'^I(\d{4} \d\d:\d\d:\d\d\.\d{6}) .*"loading: (\S+):1"')
LOADED: Final = re.compile(r"^I(\d{4} \d\d:\d\d:\d\d\.\d{6}) .*\"successfully loaded '(\S+)'\"")


@dataclass(frozen=True, slots=True)
class ColdStart:
    """One first request: its latency, a hot one's median, Triton's own load time; seconds."""

    first_seconds: float
    hot_seconds: float
    load_seconds: float

    @property
    def overhead_seconds(self) -> float:
        """What is neither Triton's load nor a hot request."""
        return self.first_seconds - self.load_seconds - self.hot_seconds


@click.command()
@click.option("--loads", default=60, show_default=True, help="Models loaded, one after the other.")
@click.option("--hop", type=click.Choice(["direct", "forward"]), default=None, help="Default: direct where it works.")
@click.option("--most-ms", type=float, default=None, help="Fail where the median overhead is above this.")
def main(loads: int, hop: str | None, most_ms: float | None) -> None:
    """Measure the cold-start overhead and print its quantiles."""
    console = Console(highlight=False)
    used = target.use(durable=True)
    chart.install(used.tools)
    chart.wait_ready(used.kube)
    stage = Stage(used, new_namespace("coldstart"))
    used.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": stage.namespace}})
    try:
        way, found = measure(stage, [f"model-{number:03}" for number in range(loads)], hop)
    finally:
        used.kube.delete("Namespace", stage.namespace)
    report(console, found, way)
    if most_ms is not None and statistics.median(c.overhead_seconds for c in found) * 1000 > most_ms:
        sys.exit(f"the median overhead is above {most_ms} ms")


def measure(stage: Stage, names: list[str], hop: str | None) -> tuple[str, list[ColdStart]]:
    """Load every model by asking for it, and return how it was reached and what each first request cost."""
    files = {path: text for name in names for path, text in models.probe(name).items()}
    budget = f"{200 + (MODEL_MIB * len(names) * 11) // 10}Mi"
    limits = {"resources": {"requests": {"cpu": "50m", "memory": "400Mi"}}}
    memory = {"budget": budget, "base": "100Mi", "defaultModelMemory": f"{MODEL_MIB}Mi"}
    stage.pool(files, memory=memory, template={**limits, "sharedMemory": "1Gi"})
    for name in names:
        stage.model(name, memory=f"{MODEL_MIB}Mi")
    # A request for an undeclared model is refused until the gateway has seen the last of them.
    with reach(stage, hop) as (way, pool):
        until_known(pool, names[-1])
        timed = {name: time_model(pool, name) for name in track(names[:-1], "Cold requests")}
    (pod,) = stage.triton_pods()
    loads = load_seconds(stage.kubectl("logs", pod["metadata"]["name"], "--container", "triton"))
    return way, [ColdStart(first, hot, loads[name]) for name, (first, hot) in timed.items()]


@contextlib.contextmanager
def reach(stage: Stage, hop: str | None) -> Iterator[tuple[str, Pool]]:
    """Yield how the pool is reached, and clients of it."""
    service = stage.kube.get("Service", POOL)
    assert service is not None
    address = service["spec"]["clusterIP"]
    if hop == "direct" or (hop is None and is_reachable(address)):
        yield "Service address", Pool({HTTP_PORT: HTTP_PORT, GRPC_PORT: GRPC_PORT}, address)
        return
    with stage.clients() as pool:
        yield "kubectl port-forward", pool


def is_reachable(address: str) -> bool:
    """Return whether a Triton answers at the Service's address from this machine."""
    try:
        answer = urllib3.request("GET", f"http://{address}:{HTTP_PORT}/v2", timeout=2.0, retries=False)
        return answer.status == 200 and "extensions" in json.loads(answer.data)
    except (HTTPError, ValueError):
        return False


def until_known(pool: Pool, name: str) -> None:
    """Ask for the last model until the gateway knows it; it is not measured."""
    for _ in range(100):
        if pool.ask(name).status != 404:
            return
    raise WaitTimeoutError(f"the gateway still does not know {name}")


def time_model(pool: Pool, name: str) -> tuple[float, float]:
    """Return the seconds of the first request and the median of those after it. Raises WaitTimeoutError."""
    seconds = []
    for number in range(1 + HOT_REQUESTS):
        began = perf_counter()
        reply = pool.ask(name, number)
        seconds.append(perf_counter() - began)
        if reply.number != number + 1:
            raise WaitTimeoutError(f"{name}: {reply.status} {reply.text}")
    return seconds[0], statistics.median(seconds[1:])


def load_seconds(log: str) -> dict[str, float]:
    """Return Triton's own load time of each model, from the lines of its log."""
    began = {match[2]: moment(match[1]) for match in map(LOADING.match, log.splitlines()) if match}
    ended = {match[2]: moment(match[1]) for match in map(LOADED.match, log.splitlines()) if match}
    return {name: (ended[name] - began[name]).total_seconds() for name in ended}


def moment(text: str) -> datetime:
    """Parse the time of a line, which has no year."""
    return datetime.strptime(f"2024 {text}", "%Y %m%d %H:%M:%S.%f").replace(tzinfo=UTC)


def report(console: Console, found: list[ColdStart], way: str) -> None:
    """Print the quantiles of all parts."""
    console.print(f"{len(found)} cold starts by {way}; ms")
    for what, values in (
        ("first answer", [c.first_seconds for c in found]),
        ("Triton's load", [c.load_seconds for c in found]),
        ("hot answer", [c.hot_seconds for c in found]),
        ("overhead", [c.overhead_seconds for c in found]),
    ):
        cuts = statistics.quantiles(values, n=100, method="inclusive")
        console.print(
            f"{what:<14} p50 {cuts[49] * 1000:8.1f}   p99 {cuts[98] * 1000:8.1f}   max {max(values) * 1000:8.1f}"
        )


if __name__ == "__main__":
    try:
        main()
    except LarderError as error:
        sys.exit(f"Error: {error}")
