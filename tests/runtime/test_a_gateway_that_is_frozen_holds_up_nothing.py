"""A real gateway process is stopped (SIGSTOP) as it is: it takes connections and answers nothing."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

from larder.api import names
from tests.gateway.builders import free_address
from tests.gateway.test_the_command import kubeconfig
from tests.runtime.stage import TOKEN, FakeModel, Stage, pod_manifest

MODELS = "abcdef"


@contextlib.asynccontextmanager
async def a_gateway_process(stage, folder):
    """`larder gateway run` as a ready pod of the pool, followed by the operator."""
    address = free_address()
    (folder / "config").write_text(json.dumps(kubeconfig(stage.kube.url)))
    environment = {
        "KUBECONFIG": str(folder / "config"),
        "LARDER_POOL": "pool",
        "LARDER_NAMESPACE": "tests",
        "LARDER_DEMAND_TOKEN": TOKEN,
        "LARDER_RUN_DIR": str(folder),
        "LARDER_BIND_ADDRESS": address,
    }
    command = Path(sys.prefix) / "bin" / "larder"
    process = await asyncio.create_subprocess_exec(str(command), "gateway", "run", env=environment)
    try:
        await stage.kube.put(pod_manifest("frozen", names.GATEWAY, "activator", address, ready=True))
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)
            process.kill()
        await process.wait()


def seen(stage):
    """What the process last said that it routes by."""
    links = stage.runner.state.gateways._links.values()
    return next((link.seen for link in links if link.view.name == "frozen"), {})


async def until_seen(stage):
    async with asyncio.timeout(40):
        while seen(stage).get("uid-of-t0") != stage.residency().version:  # noqa: ASYNC110 (nobody is told)
            await asyncio.sleep(0.02)


async def test_evictions_go_on_the_other_gateway_hears_all_and_the_frozen_one_catches_up(tmp_path):
    async with Stage() as stage:
        await stage.pool()
        for name in MODELS:
            await stage.model(name)
        triton = await stage.triton(**{name: FakeModel() for name in MODELS})
        gateway = await stage.gateway()
        async with a_gateway_process(stage, tmp_path) as process:
            await stage.start()
            await gateway.ask("a")
            await gateway.until(lambda g: "a" in g.routable("uid-of-t0"))
            await stage.routable("t0", "a")
            await until_seen(stage)
            process.send_signal(signal.SIGSTOP)
            for name in MODELS:
                await gateway.ask(name)
                await gateway.until(lambda g, n=name: n in g.routable("uid-of-t0"))
                await gateway.ask(name, 0)
            assert len(triton.named("unload")) == len(MODELS) - 2
            assert len(triton.named("load")) == len(MODELS)
            unacknowledged = [text for reason, text in stage.events("Drain") if reason == "DrainNotAcknowledged"]
            assert any("frozen" in text for text in unacknowledged)
            assert not any("g0" in text for text in unacknowledged)
            process.send_signal(signal.SIGCONT)
            await until_seen(stage)
