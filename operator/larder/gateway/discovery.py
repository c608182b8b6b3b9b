"""Tells Envoy its endpoints: aggregated delta discovery over gRPC, and what of it Envoy acknowledged.

Two resources, the endpoints of the HTTP and of the gRPC cluster, each pod with the models that may be asked there.
Nothing is sent before both lists are read, so that an activator that restarts takes no endpoint from Envoy.
"""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from google.protobuf import struct_pb2

from larder.api import names
from larder.gateway.envoy import GRPC_CLUSTER, HTTP_CLUSTER
from larder.gateway.metrics import Metrics
from larder.gateway.routes import Table, Version
from larder.gateway.state import State

log = logging.getLogger(__name__)

ENDPOINTS_TYPE: Final = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
_PORTS: Final = {HTTP_CLUSTER: names.HTTP_PORT, GRPC_CLUSTER: names.GRPC_PORT}


class Requests(Protocol):
    """Envoy's side of the stream."""

    def __aiter__(self) -> AsyncIterator[discovery_pb2.DeltaDiscoveryRequest]:
        """Its requests and acknowledgements."""


class Writer(Protocol):
    """Our side of the stream."""

    async def write(self, message: discovery_pb2.DeltaDiscoveryResponse) -> None:
        """Send one response."""


def endpoints(cluster: str, table: Table) -> endpoint_pb2.ClusterLoadAssignment:
    """Return one cluster's endpoints: an address and the list of models for each pod that serves any."""
    hosts = [_endpoint(ip, _PORTS[cluster], models) for ip, models in sorted(table.models_by_ip.items())]
    group = endpoint_components_pb2.LocalityLbEndpoints(lb_endpoints=hosts)
    return endpoint_pb2.ClusterLoadAssignment(cluster_name=cluster, endpoints=[group])


def _endpoint(ip: str, port: int, models: tuple[str, ...]) -> endpoint_components_pb2.LbEndpoint:
    listed = struct_pb2.Value(
        list_value=struct_pb2.ListValue(values=[struct_pb2.Value(string_value=m) for m in models])
    )
    metadata = base_pb2.Metadata(filter_metadata={"envoy.lb": struct_pb2.Struct(fields={"model": listed})})
    endpoint = endpoint_components_pb2.LbEndpoint(metadata=metadata)
    endpoint.endpoint.address.socket_address.address = ip
    endpoint.endpoint.address.socket_address.port_value = port
    return endpoint


@dataclass(frozen=True, slots=True)
class _Sent:
    versions: Mapping[str, Version]
    whole: bool
    at_seconds: float


@dataclass(slots=True)
class Session:
    """One stream of one Envoy, without I/O: what it subscribed to, was sent, and acknowledged."""

    subscribed: set[str] = field(default_factory=set)
    _current: dict[str, bytes] = field(default_factory=dict)
    _sent: dict[str, _Sent] = field(default_factory=dict)
    _told: Mapping[str, Version] | None = None
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def take(self, request: discovery_pb2.DeltaDiscoveryRequest) -> _Sent | None:
        """Read a request; return what it acknowledges, if that is the endpoints of both clusters."""
        for name in request.resource_names_subscribe:
            self.subscribed.add(name)
            self._current.pop(name, None)
        self.subscribed -= set(request.resource_names_unsubscribe)
        sent = self._sent.pop(request.response_nonce, None)
        if sent is None or request.HasField("error_detail") or not sent.whole:
            return None
        return sent

    def response(self, table: Table, now_seconds: float) -> discovery_pb2.DeltaDiscoveryResponse | None:
        """Return what Envoy lacks of this table; None where it lacks nothing and its versions were told before."""
        changed = []
        for name in sorted(self.subscribed & _PORTS.keys()):
            body = endpoints(name, table).SerializeToString(deterministic=True)
            if self._current.get(name) != body:
                self._current[name] = body
                changed.append((name, body))
        if not changed and self._told == table.versions:
            return None
        self._told, nonce = table.versions, str(next(self._numbers))
        self._sent[nonce] = _Sent(table.versions, _PORTS.keys() <= self.subscribed, now_seconds)
        response = discovery_pb2.DeltaDiscoveryResponse(type_url=ENDPOINTS_TYPE, nonce=nonce, system_version_info=nonce)
        for name, body in changed:
            resource = response.resources.add(name=name, version=nonce)
            resource.resource.type_url, resource.resource.value = ENDPOINTS_TYPE, body
        return response


class Discovery(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]
    """Serves the one Envoy beside this activator."""

    def __init__(self, state: State, metrics: Metrics) -> None:
        self._state = state
        self._metrics = metrics
        self._configured: set[int] = set()

    def configured(self) -> bool:
        """Whether the Envoy that runs routes by endpoints of ours; one that restarted does not yet."""
        return bool(self._configured)

    async def DeltaAggregatedResources(self, request_iterator: Requests, context: Writer) -> None:  # noqa: N802
        """Follow one stream until Envoy ends it."""
        session, wake = Session(), asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                telling = group.create_task(self._tell(session, wake, context))
                watching = group.create_task(self._wake_on_change(wake))
                async for request in request_iterator:
                    if request.type_url == ENDPOINTS_TYPE:
                        self._take(session, request)
                        wake.set()
                telling.cancel()
                watching.cancel()
        finally:
            self._configured.discard(id(session))

    async def _wake_on_change(self, wake: asyncio.Event) -> None:
        count = self._state.routed.count
        while True:
            count = await self._state.routed.after(count)
            wake.set()

    async def _tell(self, session: Session, wake: asyncio.Event, context: Writer) -> None:
        while True:
            await wake.wait()
            wake.clear()
            if not self._state.complete:
                continue
            response = session.response(self._state.table, self._state.now_seconds())
            if response is not None:
                self._metrics.pushed.inc()
                await context.write(response)

    def _take(self, session: Session, request: discovery_pb2.DeltaDiscoveryRequest) -> None:
        if request.HasField("error_detail"):
            self._metrics.rejected.inc()
            log.error("Envoy refused its endpoints: %s", request.error_detail.message)
        sent = session.take(request)
        if sent is not None:
            self._metrics.lag_seconds.observe(self._state.now_seconds() - sent.at_seconds)
            self._configured.add(id(session))
            self._state.acknowledge(sent.versions)
