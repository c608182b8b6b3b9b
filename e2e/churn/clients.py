"""Unmodified tritonclients of one pool, HTTP or gRPC, that send each request once and wait until its deadline."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol

import aiohttp
import grpc
import numpy as np
import tritonclient.grpc.aio
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException

from e2e.churn.outcome import Answer, Outcome, Request
from e2e.churn.plan import DEADLINE_SECONDS

GRPC_OPTIONS: Final = (
    ("grpc.enable_retries", 0),
    # A connection of each client's own, as different machines have.
    ("grpc.use_local_subchannel_pool", 1),
)
HTTP, GRPC = "HTTP", "gRPC"


class Client(Protocol):
    """One client with a connection of its own."""

    async def ask(self, model: str, number: int) -> Outcome:
        """Ask once; never raises for what the pool does."""

    async def close(self) -> None:
        """Close the connection."""


class TritonClient:
    """A tritonclient of one protocol. aiohttp, which the HTTP one is made of, does not repeat a POST by itself."""

    def __init__(self, protocol: str, address: str, connections: int = 1) -> None:
        self._protocol = protocol
        self._client: Any
        if protocol == HTTP:
            self._library: Any = tritonclient.http.aio
            limits = {"conn_limit": connections, "conn_timeout": DEADLINE_SECONDS}
            self._client = self._library.InferenceServerClient(address, **limits)
            self._timeout: dict[str, float] = {}
        else:
            self._library = tritonclient.grpc.aio
            self._client = self._library.InferenceServerClient(address, channel_args=list(GRPC_OPTIONS))
            self._timeout = {"client_timeout": DEADLINE_SECONDS}

    async def ask(self, model: str, number: int) -> Outcome:
        """Ask once and return the answer, or what the client complained of."""
        request = Request(number, model, self._protocol, time.time())
        began = time.perf_counter()
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                result = await self._client.infer(model, self._inputs(number), request_id=str(number), **self._timeout)
                answer = _parsed(result)
        except (InferenceServerException, aiohttp.ClientError, grpc.RpcError, OSError, ValueError) as error:
            complaint = f"{type(error).__name__}: {error}"
            return Outcome(request, time.perf_counter() - began, complaint=complaint)
        return Outcome(request, time.perf_counter() - began, answer)

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()

    def _inputs(self, number: int) -> Sequence[Any]:
        tensor = self._library.InferInput("INPUT0", [1], "INT32")
        tensor.set_data_from_numpy(np.array([number], dtype=np.int32))
        return [tensor]


def _parsed(result: Any) -> Answer:
    said = {name: result.as_numpy(name) for name in ("OUTPUT0", "MODEL", "LOAD", "POD", "SINCE")}
    missing = [name for name, value in said.items() if value is None or not value.size]
    if missing:
        raise ValueError(f"the answer lacks {', '.join(missing)}")
    model, load, pod = (said[name].flat[0].decode() for name in ("MODEL", "LOAD", "POD"))
    return Answer(int(said["OUTPUT0"].flat[0]), model, load, pod, float(said["SINCE"].flat[0]))
