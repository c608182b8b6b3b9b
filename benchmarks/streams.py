"""What a stream (ModelStreamInfer) costs through the activator: the pool and Triton direct take turns, in one run.

One client writes messages of 1 KB, 1 or 32 on their way at a time, on one stream; beside it the same as single calls,
which pass Envoy only. CPU is Envoy's and the activator's together. It needs root, for Triton's root file system.

    python -m benchmarks.streams
"""

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Final

import click
import grpc
import numpy as np
from rich.console import Console
from rich.table import Table
from tritonclient.grpc import service_pb2, service_pb2_grpc

from benchmarks import gateway_parts as parts

MODEL: Final = "identity"
SIZE_BYTES: Final = 1024
ON_THEIR_WAY: Final = (1, 32)
WARM: Final = 50


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: messages a second, and the gateway's CPU for each."""

    per_second: float
    cpu_us: float


def message() -> service_pb2.ModelInferRequest:
    """Return one request."""
    request = service_pb2.ModelInferRequest(model_name=MODEL)
    tensor = np.zeros(SIZE_BYTES // 4, dtype=np.float32)
    request.inputs.add(name="IN", datatype="FP32", shape=tensor.shape)
    request.raw_input_contents.append(tensor.tobytes())
    return request


def stream(stub: service_pb2_grpc.GRPCInferenceServiceStub, count: int, on_their_way: int) -> None:
    """Send so many messages on one stream, the next one as an answer comes."""
    to_send: Queue[bool] = Queue()
    for _ in range(min(on_their_way, count)):
        to_send.put(True)
    one, sent = message(), on_their_way

    def requests() -> Iterator[service_pb2.ModelInferRequest]:
        while to_send.get():
            yield one

    for number, answer in enumerate(stub.ModelStreamInfer(requests()), 1):
        if answer.error_message:
            raise click.ClickException(answer.error_message)
        sent += 1
        to_send.put(sent <= count)
        if number == count:
            to_send.put(False)


def single(stub: service_pb2_grpc.GRPCInferenceServiceStub, count: int, on_their_way: int) -> None:
    """Make so many calls, the next one as one ends."""
    one, running = message(), []
    for _ in range(count):
        running.append(stub.ModelInfer.future(one))
        if len(running) == on_their_way:
            running.pop(0).result()
    for call in running:
        call.result()


KINDS: Final = {"stream": stream, "single": single}


@click.command()
@click.option("--rounds", default=5, show_default=True)
@click.option("--messages", default=2000, show_default=True, help="Of one measurement.")
def main(rounds: int, messages: int) -> None:
    """Measure, print the table, and say the cost of a message."""
    found: dict[tuple[str, int, str], list[Sample]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="larder-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        stack.enter_context(parts.triton(folder, MODEL))
        world = {"models": [MODEL], "pods": {parts.TRITON: [MODEL]}}
        gateway = stack.enter_context(parts.pool(parts.pool_settings(folder), world, folder))
        stubs = {way: _stub(stack, address) for way, address in (("pool", parts.POOL), ("direct", parts.TRITON))}
        for _ in range(rounds):
            for kind in KINDS:
                for on_their_way in ON_THEIR_WAY:
                    for way, stub in stubs.items():
                        found[kind, on_their_way, way].append(_measure(gateway, stub, kind, on_their_way, messages))
    _report(found)


def _stub(stack: ExitStack, address: str) -> service_pb2_grpc.GRPCInferenceServiceStub:
    return service_pb2_grpc.GRPCInferenceServiceStub(stack.enter_context(grpc.insecure_channel(f"{address}:8001")))


def _measure(
    gateway: tuple[parts.Process, ...],
    stub: service_pb2_grpc.GRPCInferenceServiceStub,
    kind: str,
    on_their_way: int,
    messages: int,
) -> Sample:
    KINDS[kind](stub, WARM, on_their_way)
    cpu = sum(process.cpu_seconds() for process in gateway)
    started = time.perf_counter()
    KINDS[kind](stub, messages, on_their_way)
    elapsed = time.perf_counter() - started
    used = sum(process.cpu_seconds() for process in gateway) - cpu
    return Sample(messages / elapsed, used / messages * 1e6)


def _report(found: dict[tuple[str, int, str], list[Sample]]) -> None:
    console = Console(highlight=False)
    table = Table("kind", "on their way", "pool /s", "direct /s", "of direct", "gateway CPU us")
    ratios: dict[tuple[str, int], float] = {}
    for kind in KINDS:
        for on_their_way in ON_THEIR_WAY:
            pool, direct = (found[kind, on_their_way, way] for way in ("pool", "direct"))
            pairs = [mine.per_second / other.per_second for mine, other in zip(pool, direct, strict=True)]
            ratios[kind, on_their_way] = statistics.median(pairs)
            table.add_row(
                kind,
                str(on_their_way),
                f"{statistics.median(sample.per_second for sample in pool):.0f}",
                f"{statistics.median(sample.per_second for sample in direct):.0f}",
                f"{statistics.median(pairs):.2f} ({min(pairs):.2f} - {max(pairs):.2f})",
                f"{statistics.median(sample.cpu_us for sample in pool):.0f}",
            )
    console.print(table)
    cpu = statistics.median(sample.cpu_us for sample in found["stream", ON_THEIR_WAY[-1], "pool"])
    one, many = (ratios["stream", count] for count in ON_THEIR_WAY)
    console.print(f"streams: of_direct_1={one:.2f} of_direct_32={many:.2f} cpu_us_a_message={cpu:.0f}")


if __name__ == "__main__":
    main()
