"""What a cold request costs over Triton's own load: first answer - the load that Triton logged - its own compute time.

Models of a pool with memory for `ROUND` of them are asked for the first time, one after the other; then their Models
are deleted, so that nothing is evicted within the measure, and made again. First with the machine idle, then with
clients that keep half of its cores busy on a hot model, and then many first requests of one model at once. The
cluster's etcd syncs to disk. Clients talk to the Service's address where this machine reaches it, else through
port-forward, which costs a few milliseconds more.

    python -m benchmarks.coldstart --loads 200
"""

import contextlib
import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Final

import click
import urllib3
from rich.console import Console
from rich.progress import track

from benchmarks.coldstart_parts import ColdStart, load_seconds, meters, report, shares
from e2e import chart, models, target
from e2e.kube import WaitTimeoutError
from e2e.reach import reach
from e2e.tests.stage import Pool, Stage, new_namespace
from e2e.tests.triton import triton
from larder.errors import LarderError

ROUND: Final = 25
MODEL_MIB: Final = 64
HOT_MODEL: Final = "hot"
AT_ONCE_MODEL: Final = "at-once"
AT_ONCE: Final = 100
GONE_SECONDS: Final = 120.0
LOOK_SECONDS: Final = 0.2
RESOURCES: Final = {"requests": {"cpu": "200m", "memory": "400Mi"}}


@click.command()
@click.option("--loads", default=200, show_default=True, help="Loads measured, idle and again with hot traffic.")
@click.option("--hop", type=click.Choice(["direct", "forward"]), default=None, help="Default: direct where it works.")
@click.option("--most-p50-ms", type=float, default=None, help="Fail where a median overhead is above this.")
@click.option("--most-p99-ms", type=float, default=None, help="Fail where a 99th percentile is above this.")
def main(loads: int, hop: str | None, most_p50_ms: float | None, most_p99_ms: float | None) -> None:
    """Measure the cold-start overhead and print its quantiles and shares."""
    console = Console(highlight=False)
    used = target.use(durable=True)
    chart.install(used.tools)
    chart.wait_ready(used.kube)
    stage = Stage(used, new_namespace("coldstart"))
    used.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": stage.namespace}})
    try:
        p50, p99 = measure(console, stage, loads, hop)
    finally:
        used.kube.delete("Namespace", stage.namespace)
    console.print(f"coldstart: overhead_p50_ms={p50:.1f} overhead_p99_ms={p99:.1f}")
    if (most_p50_ms is not None and p50 > most_p50_ms) or (most_p99_ms is not None and p99 > most_p99_ms):
        sys.exit(f"more than {most_p50_ms} ms at the median or {most_p99_ms} ms at the 99th percentile")


def measure(console: Console, stage: Stage, loads: int, hop: str | None) -> tuple[float, float]:
    """Run all parts; return the worse of the two parts' p50 and p99 in milliseconds."""
    names = [f"model-{number:02}" for number in range(min(ROUND, loads))]
    files = {path: text for name in (*names, HOT_MODEL, AT_ONCE_MODEL) for path, text in models.probe(name).items()}
    budget = f"{200 + MODEL_MIB * (len(names) + 4)}Mi"
    memory = {"budget": budget, "base": "100Mi", "highWatermark": 100, "defaultModelMemory": f"{MODEL_MIB}Mi"}
    stage.pool(files, memory=memory, template={"resources": RESOURCES, "sharedMemory": "1Gi"})
    worst = (0.0, 0.0)
    with reach(stage, hop) as (way, pool), meters(stage) as read:
        declare(stage, pool, [HOT_MODEL])
        pool.ask(HOT_MODEL)
        for what in ("idle", "hot traffic on half of the cores"):
            with busy(pool, 0 if what == "idle" else max(1, (os.cpu_count() or 2) // 2)) as asked:
                before = read()
                found = time_loads(stage, pool, names, loads)
                spent = read() - before
            console.print(f"\n{len(found)} cold starts, {what}, by {way}; ms")
            console.print(f"hot requests meanwhile: {asked()}")
            p50, p99 = report(console, found)
            worst = max(worst[0], p50), max(worst[1], p99)
            shares(console, found, spent)
        at_once(console, stage, pool)
    return worst


def time_loads(stage: Stage, pool: Pool, names: list[str], loads: int) -> list[ColdStart]:
    """Ask every model for the first time, round after round, and return what each first request cost."""
    (pod,) = stage.triton_pods()
    timed: list[tuple[str, float, float]] = []
    known = load_seconds(triton_log(stage, pod["metadata"]["name"]))
    for _ in track(range(-(-loads // len(names))), "Rounds of cold requests"):
        declare(stage, pool, names)
        timed += [(name, *time_first(pool, name)) for name in names]
        for name in names:
            stage.kube.delete("Model", name)
        until_left(stage, names)
    log = load_seconds(triton_log(stage, pod["metadata"]["name"]))
    new = {name: iter(log[name][len(known.get(name, ())) :]) for name in names}
    return [ColdStart(first, compute, next(new[name])) for name, first, compute in timed][:loads]


def until_left(stage: Stage, names: list[str]) -> None:
    """Wait until Triton has ended the models too: one that is still on its way out would be waited for."""
    with triton(stage) as server:
        for _ in range(round(GONE_SECONDS / LOOK_SECONDS)):
            if not server.occupied().intersection(names):
                return
            time.sleep(LOOK_SECONDS)
    raise WaitTimeoutError(f"Triton still has some of {names}")


def triton_log(stage: Stage, pod: str) -> str:
    """Return what Triton logged so far."""
    return stage.kubectl("logs", pod, "--container", "triton")


def declare(stage: Stage, pool: Pool, names: list[str]) -> None:
    """Apply Models, and wait until the gateway knows them."""
    for name in names:
        stage.model(name, memory=f"{MODEL_MIB}Mi")
    for _ in range(1000):
        listed = {entry["name"] for entry in json.loads(pool.post("/v2/repository/index").text)}
        if listed.issuperset(names):
            return
    raise WaitTimeoutError(f"the gateway does not know all of {names}")


def time_first(pool: Pool, name: str) -> tuple[float, float]:
    """Return the seconds of a first request, and what of it was the model's own computing. Raises WaitTimeoutError."""
    began = perf_counter()
    reply = pool.ask(name)
    seconds = perf_counter() - began
    if reply.number != 2:
        raise WaitTimeoutError(f"{name}: {reply.status} {reply.text}")
    (statistics_,) = json.loads(pool.get(f"/v2/models/{name}/stats").text)["model_stats"]
    spent = statistics_["inference_stats"]
    computed = sum(spent[phase]["ns"] for phase in ("compute_input", "compute_infer", "compute_output"))
    return seconds, computed / 1e9


def at_once(console: Console, stage: Stage, pool: Pool) -> None:
    """Ask one cold model so many times at the same moment. Raises WaitTimeoutError where it is not one load."""
    declare(stage, pool, [AT_ONCE_MODEL])
    replies = pool.ask_at_once(AT_ONCE_MODEL, AT_ONCE)
    loads = {reply.load for reply in replies if reply.status == 200}
    answered = sum(reply.status == 200 for reply in replies)
    console.print(f"\n{AT_ONCE} first requests at once: {len(loads)} load, {answered} answered")
    if len(loads) != 1 or answered != AT_ONCE:
        raise WaitTimeoutError(f"{AT_ONCE} requests at once made {len(loads)} loads and {answered} answers")


@contextlib.contextmanager
def busy(pool: Pool, clients: int) -> Iterator[Callable[[], int]]:
    """Keep so many clients asking the hot model, each again as soon as it is answered; yields their count.

    A request in turn keeps the client, Envoy or Triton busy, so each client keeps about one core busy.
    """
    context = multiprocessing.get_context("spawn")
    counters = [context.Value("l", 0) for _ in range(clients)]
    workers = [context.Process(target=ask_forever, args=(pool.http, counter), daemon=True) for counter in counters]
    for worker in workers:
        worker.start()
    try:
        yield lambda: sum(counter.value for counter in counters)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def ask_forever(address: str, counter: "multiprocessing.sharedctypes.Synchronized[int]") -> None:
    """Ask the hot model until the process is ended, which it is with its parent."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    tensor = {"name": "INPUT0", "datatype": "INT32", "shape": [1], "data": [1]}
    body = json.dumps({"inputs": [tensor]}).encode()
    connections = urllib3.PoolManager(retries=False)
    while True:
        answer = connections.request("POST", f"http://{address}/v2/models/{HOT_MODEL}/infer", body=body, timeout=60.0)
        counter.value += answer.status == 200


def end_with(parent: multiprocessing.process.BaseProcess) -> None:
    """End this process when its parent has ended, however that came."""
    parent.join()
    os._exit(0)


if __name__ == "__main__":
    try:
        main()
    except LarderError as error:
        sys.exit(f"Error: {error}")
