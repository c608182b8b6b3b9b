"""Requests to the API server, as JSON in and out.

Built on the configuration and the connections of `kubernetes.aio`, without its generated models: what is listed in
thousands is parsed once, by its reader.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from larder.adapters.kube.resources import Resource, resource_of
from larder.api.names import FIELD_MANAGER
from larder.api.resources import Manifest
from larder.errors import KubernetesError, UnavailableError

REQUEST_SECONDS: Final = 5.0
"""Shorter than the renew deadline of the Lease: an API server that hangs does not keep a leader busy."""
WATCH_SECONDS: Final = 300
SILENCE_SECONDS: Final = 100.0
"""A watch without even a bookmark (one a minute) for that long is dead."""
PAGE_SIZE: Final = 100
"""Reading one page must not hold the event loop for long."""

MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH: Final = "application/strategic-merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"

_MANAGER: Final = {"fieldManager": FIELD_MANAGER}
_AWAY: Final = (aiohttp.ClientError, OSError, TimeoutError, ssl.SSLError, asyncio.IncompleteReadError)


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Manifest | None = None
    content_type: str = "application/json"


async def connect() -> "KubeClient":
    """Return a client configured as a pod, or from the kubeconfig where this is none."""
    configuration = Configuration()
    try:
        config.load_incluster_config(configuration)
    except config.ConfigException:
        try:
            await config.load_kube_config(client_configuration=configuration)
        except config.ConfigException as error:
            raise UnavailableError(f"no way to the API server is configured: {error}") from error
    return KubeClient(configuration)


class KubeClient:
    """One session with the API server. Raises KubernetesError for its refusals, UnavailableError when it is away."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._rest = RESTClientObject(configuration)

    async def close(self) -> None:
        """Close all connections; watches under way end with UnavailableError."""
        await self._rest.close()

    async def get(self, resource: Resource, namespace: str, name: str) -> Manifest:
        """Return one object."""
        return await self._object(_Call("GET", resource.path(namespace, name)))

    async def create(self, manifest: Manifest) -> Manifest:
        """Create an object; KubernetesError with status 409 where it is there already."""
        path = resource_of(manifest).path(manifest["metadata"]["namespace"])
        return await self._object(_Call("POST", path, _MANAGER, manifest))

    async def replace(self, manifest: Manifest) -> Manifest:
        """Replace an object; with a resourceVersion that is not the present one, KubernetesError with status 409."""
        meta = manifest["metadata"]
        path = resource_of(manifest).path(meta["namespace"], meta["name"])
        return await self._object(_Call("PUT", path, _MANAGER, manifest))

    async def apply(self, manifest: Manifest, subresource: str | None = None) -> Manifest:
        """Server-side apply, taking over fields that others own: an object, or its status."""
        meta = manifest["metadata"]
        path = resource_of(manifest).path(meta["namespace"], meta["name"], subresource)
        return await self._object(_Call("PATCH", path, {**_MANAGER, "force": "true"}, manifest, APPLY_PATCH))

    async def patch(
        self, resource: Resource, target: tuple[str, str], body: Manifest, kind: str, part: str = ""
    ) -> Any:
        """Patch the object (namespace, name), or its `part`, with a body of the given content type."""
        path = resource.path(*target, part or None)
        return await self._object(_Call("PATCH", path, _MANAGER, body, kind))

    async def pages(
        self, resource: Resource, namespace: str | None, selectors: Mapping[str, str]
    ) -> AsyncIterator[tuple[list[Manifest], str]]:
        """Yield all objects page by page, each with the resourceVersion to watch from."""
        query = {**selectors, "limit": str(PAGE_SIZE)}
        while True:
            page = await self._object(_Call("GET", resource.path(namespace), query))
            meta = page["metadata"]
            yield page["items"], meta["resourceVersion"]
            if not meta.get("continue"):
                return
            query = {**query, "continue": meta["continue"]}

    async def list(
        self, resource: Resource, namespace: str | None, selectors: Mapping[str, str]
    ) -> tuple[list[Manifest], str]:
        """Return all objects, read in pages, and the resourceVersion to watch from."""
        items: list[Manifest] = []
        version = ""
        async for page, at in self.pages(resource, namespace, selectors):
            items += page
            version = at
        return items, version

    @asynccontextmanager
    async def watch(
        self, resource: Resource, namespace: str | None, selectors: Mapping[str, str], version: str
    ) -> AsyncIterator[AsyncIterator[Manifest]]:
        """Yield the events (`type` and `object`) after a resourceVersion, until the server ends the watch."""
        query = {
            **selectors,
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        bound = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_SECONDS, sock_read=SILENCE_SECONDS)
        response = await self._send(_Call("GET", resource.path(namespace), query), bound)
        try:
            if response.status >= 400:
                raise _refusal(response.status, await response.read())
            yield _events(response)
        finally:
            response.close()

    async def _object(self, call: "_Call") -> dict[str, Any]:
        response = await self._send(call, aiohttp.ClientTimeout(total=REQUEST_SECONDS))
        try:
            content = await response.read()
        except _AWAY as error:
            raise UnavailableError(f"the API server broke off {call.method} {call.path}: {_words(error)}") from error
        if response.status >= 400:
            raise _refusal(response.status, content)
        found: dict[str, Any] = json.loads(content)
        return found

    async def _send(self, call: "_Call", bound: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        url = self._configuration.host + call.path + (f"?{urlencode(call.query)}" if call.query else "")
        try:
            headers = {"Content-Type": call.content_type, "Accept": "application/json", **await self._authorization()}
            answer = await self._rest.request(call.method, url, headers, call.body, _request_timeout=bound)
        except _AWAY as error:
            text = f"the API server did not answer {call.method} {call.path}: {_words(error)}"
            raise UnavailableError(text) from error
        response: aiohttp.ClientResponse = answer.response
        return response

    async def _authorization(self) -> dict[str, str]:
        token = await self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        return {"authorization": token} if token else {}


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[Manifest]:
    rest = b""
    try:
        async for chunk in response.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line:
                    yield _event(line)
    except _AWAY as error:
        raise UnavailableError(f"the API server broke off a watch: {_words(error)}") from error


def _event(line: bytes) -> Manifest:
    event: Manifest = json.loads(line)
    if event["type"] == "ERROR":
        status = event["object"]
        raise KubernetesError(status.get("code", 500), status.get("reason", "Unknown"), status.get("message", ""))
    return event


def _refusal(status: int, content: bytes) -> KubernetesError:
    try:
        body = json.loads(content)
        return KubernetesError(status, str(body.get("reason", "Unknown")), str(body.get("message", "")))
    except (ValueError, AttributeError):
        return KubernetesError(status, "Unknown", content[:200].decode(errors="replace"))


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
