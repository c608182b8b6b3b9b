"""Hostile input against a whole gateway pod: a real Envoy and a real activator, a pod that speaks V2, over loopback.

Meanwhile connections lie idle, others send a byte at a time, and names that nobody declares go by. At the end nothing
may have crashed, hang, have grown, or have been answered with a status that docs/how-it-works.md does not name.

    python -m tests.fuzz --payloads 10000
"""

import asyncio
import collections
import logging
import resource
import sys
import tempfile
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import click
from aiohttp import web
from rich.console import Console
from rich.table import Table

from benchmarks import gateway_parts as parts
from larder.gateway.envoy_admin import EnvoyAdmin
from tests.fuzz import corpus, talking
from tests.fuzz.corpus import COLD, HOT, Raw
from tests.fuzz.talking import STUCK, Talker
from tests.gateway.builders import free_address
from tests.gateway.fake_pod import FakePod

DOCUMENTED = {
    *(f"http {status}" for status in (101, 200, 400, 401, 403, 404, 405, 408, 413, 426, 431, 501, 503, 505)),
    *("grpc OK", "grpc INVALID_ARGUMENT", "grpc NOT_FOUND", "grpc UNIMPLEMENTED", "grpc PERMISSION_DENIED"),
    *("grpc RESOURCE_EXHAUSTED", "grpc UNAVAILABLE", "grpc INTERNAL", talking.CLOSED),
}
AT_ONCE = 48
SLOW_SECONDS = 45.0
"""Envoy gives a client 30 s for its headers."""
SETTLE_SECONDS = 20.0
FAULTS = ("Traceback", "never retrieved", "[critical]", "Caught Segmentation")


@dataclass(frozen=True)
class Size:
    """How much of it; `slow`: whether slow senders are waited for until the gateway ends them."""

    payloads: int
    seed: int
    unknown: int
    idle: int
    slow: bool


@dataclass
class Run:
    """What happened: how payloads ended, by kind, and what is wrong."""

    ended: collections.Counter = field(default_factory=collections.Counter)
    faults: list = field(default_factory=list)
    examples: list = field(default_factory=list)
    stuck: int = 0

    def undocumented(self):
        return {key: count for key, count in self.ended.items() if key[1] not in DOCUMENTED and key[1] != STUCK}


class _Pod(FakePod):
    """As Triton does, it says of a body that is not JSON that it is its own error."""

    async def _http(self, request):
        if request.method not in {"GET", "POST"}:
            return web.json_response({"error": "Method Not Allowed"}, status=405)
        try:
            return await super()._http(request)
        except (ValueError, IndexError, AttributeError, web.RequestPayloadError) as error:
            return web.json_response({"error": f"failed to parse the request JSON buffer: {error}"}, status=500)


@asynccontextmanager
async def gateway(folder):
    """The gateway pod; yields its settings and processes."""
    async with _Pod("p", {HOT}) as fake:
        settings = replace(
            parts.pool_settings(folder, free_address()),
            longest_hold_seconds=1.0,
            body_limit_bytes=corpus.BODY_LIMIT_BYTES,
        )
        world = {"models": [HOT, COLD], "pods": {fake.ip: [HOT]}}
        with ExitStack() as stack:
            processes = await asyncio.to_thread(stack.enter_context, parts.pool(settings, world, folder))
            yield settings, processes


def ports(settings):
    address, known = settings.bind_address, settings.ports
    return {
        "http": (address, known.http),
        "grpc": (address, known.grpc),
        "demand": (address, known.demand),
        "probe": (address, known.probe),
    }


async def talk(run, talker, payloads):
    """Say all payloads, some at once."""
    source = iter(payloads)

    async def worker():
        for payload in source:
            ended = await talker.say(payload)
            run.ended[payload.kind.partition(" ")[0] if payload.kind.startswith("rpc") else payload.kind, ended] += 1
            run.stuck += ended == STUCK
            if ended not in DOCUMENTED:
                run.examples.append((ended, payload))

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


async def serves(talker):
    """Return what is wrong with a right request, if anything is."""
    whole = corpus.request("GET", b"/v2/models/hot", {}, b"")
    over_http = await talker.say(Raw("right", "http", (whole,)))
    over_grpc = await talker.say(corpus.Rpc("right", "ModelInfer", (b"\x0a\x03hot",)))
    return (
        [] if (over_http, over_grpc) == ("http 200", "grpc OK") else [f"a right request got {over_http}, {over_grpc}"]
    )


async def slow(address, number):
    """Send headers a byte at a time; return whether the gateway ended it."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        async with asyncio.timeout(SLOW_SECONDS):
            with suppress(ConnectionError):
                for byte in b"GET /v2/health/live HTTP/1.1\r\nX-Slow: " + bytes([97 + number % 26]) * 1000:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0.5):
                            if not await reader.read(65536):
                                return True
            return True
    except TimeoutError:
        return False
    finally:
        writer.transport.abort()


async def names(address, count):
    """Ask for so many models that nobody declares, each once; return how they were answered."""
    found, numbers = collections.Counter(), iter(range(count))

    async def worker():
        reader, writer = await asyncio.open_connection(*address)
        for number in numbers:
            writer.write(f"GET /v2/models/nobody-{number}/ready HTTP/1.1\r\nHost: pool\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(talking.LENGTH.search(head)[1]))
            found["names", f"http {head[9:12].decode()}"] += 1
        writer.transport.abort()

    if count:
        await asyncio.gather(*(worker() for _ in range(16)))
    return found


async def settled(settings):
    """Return what hangs in Envoy after all clients have gone."""
    async with EnvoyAdmin(settings.admin_socket) as admin:
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                while await admin.active_requests():  # noqa: ASYNC110 (Envoy is asked, it does not tell)
                    await asyncio.sleep(0.1)
        except TimeoutError:
            return await admin.active_requests()
    return 0


def faults(folder):
    """Return the lines of both logs that tell of a fault."""
    texts = [(folder / log).read_text(errors="replace") for log in ("activator.log", "pool.log")]
    return [line for text in texts for line in text.splitlines() if any(word in line for word in FAULTS)]


async def unended(dripping):
    """Wait for the slow senders; return how many were never ended."""
    return sum(not ended for ended in await asyncio.gather(*dripping))


async def fuzz(folder, size):
    """Run all of it; return what happened and how much memory the processes took on."""
    run = Run()
    async with gateway(folder) as (settings, processes), AsyncExitStack() as stack:
        at = ports(settings)
        talker = Talker(at)
        stack.push_async_callback(talker.close)
        await talk(run, talker, corpus.payloads(size.seed + 1, min(2000, size.payloads)))
        before = [process.resident_bytes() for process in processes]
        for number in range(size.idle):
            _, writer = await asyncio.open_connection(*at["http" if number % 2 else "grpc"])
            stack.callback(writer.transport.abort)
        dripping = [asyncio.create_task(slow(at["grpc" if n % 2 else "http"], n)) for n in range(64)]
        await talk(run, talker, corpus.payloads(size.seed, size.payloads))
        run.ended += await names(at["http"], size.unknown)
        run.stuck += await unended(dripping) if size.slow else 0
        run.faults += await serves(talker)
        for task in dripping:
            task.cancel()
        await asyncio.gather(*dripping, return_exceptions=True)
        await stack.aclose()
        run.stuck += await settled(settings)
        run.faults += [
            f"{p.popen.args[0]} ended with {p.popen.returncode}" for p in processes if p.popen.poll() is not None
        ]
        grown = [process.resident_bytes() - size for process, size in zip(processes, before, strict=True)]
        sizes = [process.resident_bytes() for process in processes]
    run.faults += faults(folder)
    return run, grown, sizes


def shown(run):
    """The table of how payloads ended."""
    table = Table("payload", "ended", "times")
    for (kind, ended), count in sorted(run.ended.items()):
        table.add_row(kind, ended, str(count))
    return table


@click.command()
@click.option("--payloads", default=100_000, show_default=True, help="Hostile payloads.")
@click.option("--seed", default=1, show_default=True)
@click.option("--names", "unknown", default=1_000_000, show_default=True, help="Names that nobody declares.")
@click.option("--idle", default=4000, show_default=True, help="Connections that lie idle meanwhile.")
@click.option("--most-mb", default=64.0, show_default=True, help="Growth of both processes together that fails.")
@click.option("--slow/--no-slow", default=True, help="Wait until the slowest senders have been ended: 30 s.")
def main(most_mb, **size):
    """Run, print the table, and fail where anything crashed, hangs, grew or was answered without a known status."""
    console = Console(highlight=False)
    for noisy in ("aiohttp.server", "grpc"):  # the pod's own: it is no part of the gateway
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        run, grown, sizes = asyncio.run(fuzz(Path(folder), Size(**size)))
    console.print(shown(run))
    for fault in run.faults[:20]:
        console.print(f"fault: {fault}", markup=False)
    for ended, payload in run.examples[:10]:
        console.print(f"{ended} for {str(payload)[:600]}", markup=False)
    envoy_mb, activator_mb = (size / 2**20 for size in sizes)
    console.print(f"memory at the end: Envoy {envoy_mb:.0f} MB, activator {activator_mb:.0f} MB")
    growth_mb = sum(grown) / 2**20
    unknown_ends = sum(run.undocumented().values())
    console.print(
        f"fuzz: payloads={sum(run.ended.values())} crashes={len(run.faults)} stuck={run.stuck} "
        f"undocumented={unknown_ends} rss_growth_mb={growth_mb:.1f}"
    )
    sys.exit(bool(run.faults or run.stuck or unknown_ends or growth_mb > most_mb))


if __name__ == "__main__":
    main()
