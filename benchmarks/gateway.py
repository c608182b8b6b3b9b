"""What the gateway costs a hot request: through the pool's Envoy, through a plain Envoy, and direct, in one run.

For gRPC and HTTP, tensors of 1 KB and 600 KB and 1, 8 and 32 clients, the three ways take turns, round by round; each
figure is the median of the rounds, with the least and the most beside it. CPU is that of Envoy and activator together,
by the scheduler's own count. Clients are h2load's (Debian's nghttp2-client), which costs less than what it measures.
Each Envoy has one worker. It needs root, for Triton's root file system, and no cluster.

    python -m benchmarks.gateway --quick
"""

import itertools
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import click
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from tritonclient.grpc import service_pb2

from benchmarks import gateway_parts as parts
from benchmarks import gateway_scale
from benchmarks.gateway_load import Load, Sample, drive

MODEL: Final = "identity"
WARM_SECONDS: Final = 1.0
WAYS: Final = {"pool": parts.POOL, "plain": parts.PLAIN, "direct": parts.TRITON}
PROTOCOLS: Final = ("grpc", "http")
SIZES_BYTES: Final = (1_024, 614_400)
CLIENTS: Final = (1, 8, 32)
LEAST_OF_ENVOY: Final = 0.97
MOST_CPU_US: Final = 10.0
MOST_P50_MS: Final = 0.1

Rounds = Mapping[str, list[Sample]]


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and what it is the median of: the least and the most."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f} - {self.most:.2f})"


@click.command()
@click.option("--rounds", default=7, show_default=True, help="Rounds of each load; at least 5.")
@click.option("--seconds", default=3.0, show_default=True, help="Length of one measurement.")
@click.option("--quick", is_flag=True, help="5 rounds of 0.5 s: about two minutes.")
@click.option("--only", default="", help="Loads whose name contains this, such as 'http 1KB'.")
@click.option("--scale/--no-scale", default=True, help="Measure changes of placements in a very large pool too.")
@click.option("--check", is_flag=True, help="Fail where a bar is not met.")
def main(rounds: int, seconds: float, quick: bool, only: str, scale: bool, check: bool) -> None:  # noqa: PLR0913, PLR0917 (options)
    """Measure what the gateway costs and print the table."""
    console = Console(highlight=False, width=max(Console().width, 210))
    rounds, seconds = (5, 0.5) if quick else (max(5, rounds), seconds)
    parts.need("h2load", "nghttp2-client")
    with tempfile.TemporaryDirectory(prefix="larder-bench-") as name:
        found = measure(Path(name), [load for load in loads(Path(name)) if only in load.name], rounds, seconds)
    console.print(table(found))
    broken = [f"{load.name}: {text}" for load, samples in found.items() for text in missed(load, samples)]
    for text in broken:
        console.print(f"bar not met: {text}")
    console.print(summary(found), soft_wrap=True)
    if scale:
        console.print(gateway_scale.measure(windows=1 if quick else 5), soft_wrap=True)
    if check and broken:
        sys.exit(1)


def loads(folder: Path) -> list[Load]:
    """Return all loads, with their request bodies written to the folder."""
    return [
        Load(protocol, size, clients, write_body(folder, protocol, size))
        for protocol, size, clients in itertools.product(PROTOCOLS, SIZES_BYTES, CLIENTS)
    ]


def write_body(folder: Path, protocol: str, size_bytes: int) -> Path:
    """Write one inference of a tensor of this size as it goes over the wire."""
    path = folder / f"{protocol}-{size_bytes}.body"
    data = np.zeros(size_bytes // 4, dtype="float32").tobytes()
    if protocol == "http":
        path.write_bytes(http_header(size_bytes) + data)
        return path
    request = service_pb2.ModelInferRequest(model_name=MODEL)
    request.inputs.add(name="IN", datatype="FP32", shape=[size_bytes // 4])
    request.raw_input_contents.append(data)
    message = request.SerializeToString()
    path.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    return path


def http_header(size_bytes: int) -> bytes:
    """Return the JSON part of an inference with binary tensors."""
    text = (
        f'{{"inputs":[{{"name":"IN","datatype":"FP32","shape":[{size_bytes // 4}],'
        f'"parameters":{{"binary_data_size":{size_bytes}}}}}],"parameters":{{"binary_data_output":true}}}}'
    )
    return text.encode()


def measure(folder: Path, chosen: list[Load], rounds: int, seconds: float) -> dict[Load, dict[str, list[Sample]]]:
    """Let the ways take turns, starting with another one each round."""
    found: dict[Load, dict[str, list[Sample]]] = {load: {way: [] for way in WAYS} for load in chosen}
    world = {"models": [MODEL], "pods": {parts.TRITON: [MODEL]}}
    with ExitStack() as stack:
        stack.enter_context(parts.triton(folder, MODEL))
        plain = stack.enter_context(parts.plain(folder))
        pool = stack.enter_context(parts.pool(parts.pool_settings(folder), world, folder))
        used: dict[str, Callable[[], float]] = {
            "pool": lambda: sum(process.cpu_seconds() for process in pool),
            "plain": plain.cpu_seconds,
            "direct": lambda: 0.0,
        }
        for load, way in itertools.product(chosen, WAYS):
            run(load, way, WARM_SECONDS, used[way])
        turns = [(number, load) for number in range(rounds) for load in chosen]
        for number, load in track(turns, "Rounds"):
            order = list(WAYS)[number % 3 :] + list(WAYS)[: number % 3]
            for way in order:
                found[load][way].append(run(load, way, seconds, used[way]))
    return found


def run(load: Load, way: str, seconds: float, used_seconds: Callable[[], float]) -> Sample:
    """Drive one load one way, and take the CPU that was used meanwhile."""
    before = used_seconds()
    sample = drive(load, url_at(load, WAYS[way]), seconds, len(http_header(load.size_bytes)))
    return replace(sample, cpu_us=(used_seconds() - before) / sample.requests * 1e6)


def url_at(load: Load, address: str) -> str:
    """Return where the load's requests go at this address."""
    if load.protocol == "grpc":
        return f"http://{address}:8001/inference.GRPCInferenceService/ModelInfer"
    return f"http://{address}:8000/v2/models/{MODEL}/infer"


def spread(values: Iterable[float]) -> Spread:
    """Return the median and the ends."""
    listed = list(values)
    return Spread(statistics.median(listed), min(listed), max(listed))


def ratio(samples: Rounds, way: str) -> Spread:
    """Throughput of the pool's gateway over that of another way, round by round."""
    pairs = zip(samples["pool"], samples[way], strict=True)
    return spread(pool.per_second / other.per_second for pool, other in pairs)


def added_cpu_us(samples: Rounds) -> Spread:
    """CPU of a request through the pool's gateway over that through a plain Envoy, round by round."""
    return spread(a.cpu_us - b.cpu_us for a, b in zip(samples["pool"], samples["plain"], strict=True))


def added_p50_ms(samples: Rounds) -> Spread:
    """The median latency over that through a plain Envoy, round by round."""
    return spread(a.p50_ms - b.p50_ms for a, b in zip(samples["pool"], samples["plain"], strict=True))


def missed(load: Load, samples: Rounds) -> list[str]:
    """Return the bars that this load misses."""
    of_envoy, cpu, p50 = ratio(samples, "plain"), added_cpu_us(samples), added_p50_ms(samples)
    return [
        *([f"throughput {of_envoy} of plain Envoy's"] if of_envoy.median < LEAST_OF_ENVOY else []),
        *([f"CPU +{cpu} us over plain Envoy"] if cpu.median > MOST_CPU_US else []),
        *([f"p50 +{p50} ms over plain Envoy"] if load.clients == 1 and p50.median > MOST_P50_MS else []),
    ]


def table(found: Mapping[Load, Rounds]) -> Table:
    """Return one row for each load: medians, and the spread where a bar is on it."""
    shown = Table(box=None, header_style="")
    columns = ("load", "req/s pool", "plain", "direct", "of plain", "of direct", "p50 ms", "plain", "direct", "+p50")
    for column in (*columns, "p99 ms", "plain", "direct", "CPU us", "plain", "+CPU"):
        shown.add_column(column, justify="left" if column == "load" else "right")
    for load, samples in found.items():
        shown.add_row(load.name, *_cells(samples))
    return shown


def _cells(samples: Rounds) -> list[str]:
    def medians(read: Callable[[Sample], float], form: str, ways: Iterable[str] = WAYS) -> list[str]:
        return [format(statistics.median(read(s) for s in samples[way]), form) for way in ways]

    return [
        *medians(lambda s: s.per_second, ".0f"),
        str(ratio(samples, "plain")),
        f"{ratio(samples, 'direct').median:.2f}",
        *medians(lambda s: s.p50_ms, ".2f"),
        str(added_p50_ms(samples)),
        *medians(lambda s: s.p99_ms, ".2f"),
        *medians(lambda s: s.cpu_us, ".0f", ("pool", "plain")),
        str(added_cpu_us(samples)),
    ]


def summary(found: Mapping[Load, Rounds]) -> str:
    """Return the last line: medians over the loads of each protocol."""
    measures: dict[str, Callable[[Rounds], float]] = {
        "of_envoy": lambda samples: ratio(samples, "plain").median,
        "of_direct": lambda samples: ratio(samples, "direct").median,
        "cpu_over_envoy_us": lambda samples: added_cpu_us(samples).median,
    }
    shown = []
    for name, measured in measures.items():
        for protocol in PROTOCOLS:
            values = [measured(samples) for load, samples in found.items() if load.protocol == protocol]
            figure = "none" if not values else f"{statistics.median(values):.{1 if name.endswith('us') else 3}f}"
            shown.append(f"{protocol}_{name}={figure}")
    return "gateway: " + " ".join(shown)


if __name__ == "__main__":
    main()
