"""The operator's process: start-up, shutdown, settings of kopf."""

import asyncio
import contextlib
import itertools
import logging
import os
import random
import secrets
import signal
import sys
import time
from dataclasses import dataclass
from typing import Any, Final

import kopf
import prometheus_client

from larder.adapters.demand_socket import open_socket
from larder.adapters.kube.client import KubeClient, connect
from larder.adapters.kube.events import Recorder
from larder.adapters.kube.lease import LeaseStore
from larder.adapters.meter import open_gpu_meter, open_meter
from larder.adapters.prometheus import Prometheus
from larder.adapters.triton import TritonControl
from larder.handlers.probes import Probes
from larder.runtime.leadership import Leadership
from larder.runtime.operator import Operator
from larder.runtime.pool_runner import Surface
from larder.runtime.settings import LEASE_NAME, Settings, read
from larder.runtime.state import Clock, Timings
from larder.runtime.status_writer import StatusWriter
from larder.runtime.steady import SteadyTime

log = logging.getLogger(__name__)

SWITCH_SECONDS: Final = 0.0001
"""The event loop waits so long for a thread that plans, each time that it comes back from a system call."""
STOP_SECONDS: Final = 15.0
"""Within the pod's grace time: finish publishing, release the Lease."""


@dataclass(slots=True)
class Process:
    """What lives as long as the process."""

    operator: Operator
    client: KubeClient
    probes: Probes
    task: asyncio.Task[None] | None = None


@kopf.on.login()
def login(settings: kopf.OperatorSettings, **_: Any) -> Any:
    """As a pod, or by the kubeconfig; without the synchronous client of Kubernetes."""
    return kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)


@kopf.on.startup()
async def start(settings: kopf.OperatorSettings, memo: kopf.Memo, **_: Any) -> None:
    """Start the operator's own tasks before kopf tells of any pool."""
    configure(settings)
    # Plans of large pools are made in a thread: it has to let the event loop in soon.
    sys.setswitchinterval(SWITCH_SECONDS)
    told = read(os.environ)
    client = await connect()
    process = memo.process = build(told, client)
    prometheus_client.start_http_server(told.metrics_port)
    await process.probes.start(told.probe_port)
    process.task = asyncio.create_task(process.operator.run(told.namespaces, random.random), name="operator")
    process.task.add_done_callback(_ended)


@kopf.on.cleanup()
async def stop(memo: kopf.Memo, **_: Any) -> None:
    """Finish what is being published, then let another replica lead at once."""
    process: Process = memo.process
    if process.task is not None:
        process.task.remove_done_callback(_ended)
        process.task.cancel()
        await asyncio.wait((process.task,), timeout=STOP_SECONDS)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_SECONDS):
            await process.operator.stop()
            await process.client.close()
            await process.probes.stop()


def configure(settings: kopf.OperatorSettings) -> None:
    """kopf posts no Events of its own, looks for no new kinds, and never gives up on the API server."""
    # It logs every event, our own writes of status included.
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.networking.error_backoffs = _Backoffs()
    settings.watching.reconnect_backoff = 1.0
    settings.watching.connect_timeout = 5.0


def build(told: Settings, client: KubeClient) -> Process:
    """Wire the operator."""
    # A restarted process is another leader: its term must be a new one.
    identity = f"{told.identity}_{secrets.token_hex(4)}"
    clock = Clock(SteadyTime(time.time, time.monotonic), time.monotonic)
    leadership = Leadership(LeaseStore(client, told.namespace, LEASE_NAME, time.time), identity, _elapsed)
    recorder = Recorder(client, told.identity, time.time)
    surface = Surface(
        cluster=client,
        open_control=TritonControl,
        open_stream=open_socket,
        open_meter=open_meter,
        open_gpu_meter=open_gpu_meter,
        notes=recorder,
        statuses=StatusWriter(client, leadership.check, time.monotonic),
        fence=leadership,
        clock=clock,
        timings=Timings(forecast_interval=told.forecast_interval_seconds),
        platform=told.platform,
        make_key=lambda: secrets.token_hex(24),
        metrics=None if told.prometheus is None else Prometheus(told.prometheus),
    )
    operator = Operator(surface, leadership, recorder)
    return Process(operator, client, Probes(operator))


def _elapsed() -> float:
    """Seconds on a clock that goes on while the machine sleeps, as the Lease does."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class _Backoffs:
    """Pauses without end: an API server that is away for minutes is no reason to end."""

    def __iter__(self) -> Any:
        return itertools.chain((0.5, 1.0, 2.0), itertools.repeat(5.0))


def _ended(task: asyncio.Task[None]) -> None:
    """The operator's task never ends by itself: when it does, the process ends and is started anew."""
    if not task.cancelled():
        log.error("the operator broke", exc_info=task.exception())
        os.kill(os.getpid(), signal.SIGTERM)
