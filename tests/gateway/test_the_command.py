"""`larder gateway run` as its container starts it."""

import asyncio
import contextlib
import json
import signal
import sys
from pathlib import Path

import aiohttp

from tests.adapters.fake_kube import FakeKube
from tests.gateway import builders


def kubeconfig(url):
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }


async def test_the_activator_runs_from_its_environment_and_ends_on_sigterm(tmp_path):
    address = builders.free_address()
    async with FakeKube() as kube, aiohttp.ClientSession() as session:
        await kube.put(builders.model("m"))
        (tmp_path / "config").write_text(json.dumps(kubeconfig(kube.url)))
        environment = {
            "KUBECONFIG": str(tmp_path / "config"),
            "LARDER_POOL": builders.POOL,
            "LARDER_NAMESPACE": builders.NAMESPACE,
            "LARDER_DEMAND_TOKEN": builders.TOKEN,
            "LARDER_RUN_DIR": str(tmp_path),
            "LARDER_BIND_ADDRESS": address,
        }
        command = Path(sys.prefix) / "bin" / "larder"
        process = await asyncio.create_subprocess_exec(str(command), "gateway", "run", env=environment)
        async with asyncio.timeout(40):
            text = ""
            while "Envoy" not in text:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"http://{address}:9104/readyz") as answer:
                        text = await answer.text()
                await asyncio.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0


async def test_without_its_environment_the_command_says_what_is_missing():
    command = Path(sys.prefix) / "bin" / "larder"
    process = await asyncio.create_subprocess_exec(
        str(command), "gateway", "run", env={}, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await asyncio.wait_for(process.communicate(), 40)
    assert (process.returncode, "LARDER_POOL" in errors.decode()) == (1, True)
