"""A small API server over real HTTP: lists in pages, watches, patches, server-side apply as a deep merge.

It keeps no schemas and grants everything. `refuse` makes it answer an error to matching requests, `silence` lets
it hang, `forget` makes old resourceVersions too old (410).
"""

import asyncio
import copy
import json
from contextlib import suppress
from dataclasses import dataclass, field

from aiohttp import web
from kubernetes.aio.client import Configuration

from larder.adapters.kube.client import KubeClient
from tests.adapters.serving import on_loopback

KINDS = {
    "pods": ("v1", "Pod"),
    "events": ("v1", "Event"),
    "secrets": ("v1", "Secret"),
    "services": ("v1", "Service"),
    "serviceaccounts": ("v1", "ServiceAccount"),
    "deployments": ("apps/v1", "Deployment"),
    "leases": ("coordination.k8s.io/v1", "Lease"),
    "models": ("larder.dev/v1alpha1", "Model"),
    "modelpools": ("larder.dev/v1alpha1", "ModelPool"),
    "poddisruptionbudgets": ("policy/v1", "PodDisruptionBudget"),
    "roles": ("rbac.authorization.k8s.io/v1", "Role"),
    "rolebindings": ("rbac.authorization.k8s.io/v1", "RoleBinding"),
}


@dataclass
class FakeKube:
    """Serves on a free port of the loopback address while used as an async context manager."""

    objects: dict = field(default_factory=dict)
    history: list = field(default_factory=list)
    requests: list = field(default_factory=list)
    refusals: list = field(default_factory=list)
    oldest: int = 0
    watches: int = 0
    page_size: int | None = None
    away: bool = False

    async def __aenter__(self):
        self._moved = asyncio.Condition()
        self._version = 100
        self._watches = set()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner, address = await on_loopback(app)
        self.url = f"http://{address}"
        return self

    async def __aexit__(self, *exception):
        await self.end_watches()
        await self._runner.cleanup()

    def client(self):
        """A client of this server; the caller closes it."""
        return KubeClient(Configuration(host=self.url))

    async def put(self, manifest):
        """Create or replace an object as the cluster would."""
        plural = next(p for p, (_, kind) in KINDS.items() if kind == manifest["kind"])
        meta = manifest["metadata"]
        return await self._store((plural, meta["namespace"], meta["name"]), copy.deepcopy(manifest))

    async def edit(self, plural, name, change, namespace="tests"):
        """Change an object in place with a function."""
        manifest = copy.deepcopy(self.objects[(plural, namespace, name)])
        change(manifest)
        return await self._store((plural, namespace, name), manifest)

    async def remove(self, plural, name, namespace="tests"):
        """Delete an object."""
        manifest = copy.deepcopy(self.objects.pop((plural, namespace, name)))
        await self._record("DELETED", plural, manifest)

    def find(self, plural, name, namespace="tests"):
        """The object, or None."""
        return self.objects.get((plural, namespace, name))

    def all(self, plural):
        """All objects of a kind."""
        return [manifest for (kind, _, _), manifest in self.objects.items() if kind == plural]

    async def until(self, true):
        """Wait until the condition is true; looked at after every write."""
        async with asyncio.timeout(20), self._moved:
            await self._moved.wait_for(lambda: true(self))

    def refuse(self, method, part, status, reason="Refused", message="refused by the test"):
        """Answer an error to requests with this method whose path contains `part`."""
        self.refusals.append((method, part, status, reason, message))

    async def forget(self):
        """Make every resourceVersion up to now too old to watch from, and end the watches."""
        self._version += 1
        self.oldest = self._version
        await self.end_watches()

    async def end_watches(self):
        """Break every watch off."""
        tasks = list(self._watches)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _store(self, key, manifest):
        plural = key[0]
        event = "MODIFIED" if key in self.objects else "ADDED"
        meta = manifest["metadata"]
        meta.setdefault("uid", f"uid-of-{key[2]}")
        meta.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        before = self.objects.get(key, {})
        meta["generation"] = before.get("metadata", {}).get("generation", meta.get("generation", 0) or 1)
        if before and before.get("spec") != manifest.get("spec"):
            meta["generation"] += 1
        self.objects[key] = manifest
        await self._record(event, plural, manifest)
        return manifest

    async def _record(self, event, plural, manifest):
        async with self._moved:
            self._version += 1
            manifest["metadata"]["resourceVersion"] = str(self._version)
            api_version, kind = KINDS[plural]
            manifest.setdefault("apiVersion", api_version)
            manifest.setdefault("kind", kind)
            self.history.append((self._version, event, plural, copy.deepcopy(manifest)))
            self._moved.notify_all()

    async def _handle(self, request):
        async with self._moved:
            self.requests.append((request.method, request.path))
            self._moved.notify_all()
        if self.away:
            await asyncio.sleep(60)
        for method, part, status, reason, message in self.refusals:
            if method == request.method and part in request.path:
                return _status(status, reason, message)
        namespace, plural, name, part = _split(request.path)
        if name is None and request.method == "GET":
            if "watch" in request.query:
                return await self._watch(request, plural, namespace)
            return self._list(request, plural, namespace)
        handler = getattr(self, f"_{request.method.lower()}")
        return await handler(request, (plural, namespace, name), part)

    def _list(self, request, plural, namespace):
        found = [
            manifest
            for (kind, space, _), manifest in sorted(self.objects.items())
            if kind == plural and namespace in (None, space) and _selected(manifest, request)
        ]
        begin = int(request.query.get("continue", 0))
        size = self.page_size or int(request.query.get("limit", len(found) + 1))
        meta = {"resourceVersion": str(self._version)}
        if begin + size < len(found):
            meta["continue"] = str(begin + size)
        # As the real one: items of a list carry neither apiVersion nor kind.
        items = [{k: v for k, v in m.items() if k not in ("apiVersion", "kind")} for m in found[begin : begin + size]]
        return web.json_response({"metadata": meta, "items": items})

    async def _watch(self, request, plural, namespace):
        seen = int(request.query["resourceVersion"])
        response = web.StreamResponse()
        await response.prepare(request)
        if seen < self.oldest:
            gone = {"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "too old"}}
            await response.write(json.dumps(gone).encode() + b"\n")
            return response
        task = asyncio.create_task(self._stream(request, response, (plural, namespace), seen))
        self._watches.add(task)
        async with self._moved:
            self.watches += 1
            self._moved.notify_all()
        with suppress(asyncio.CancelledError, ConnectionError):
            await task
        self._watches.discard(task)
        return response

    async def _stream(self, request, response, what, seen):
        plural, namespace = what
        while True:
            async with self._moved:
                await self._moved.wait_for(lambda known=seen: self._version > known)
                fresh = [entry for entry in self.history if entry[0] > seen]
                seen = self._version
            for _, event, kind, manifest in fresh:
                here = kind == plural and namespace in (None, manifest["metadata"]["namespace"])
                if here and _selected(manifest, request):
                    await response.write(json.dumps({"type": event, "object": manifest}).encode() + b"\n")
            bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(seen)}}}
            await response.write(json.dumps(bookmark).encode() + b"\n")

    async def _get(self, request, key, part):
        manifest = self.objects.get(key)
        return web.json_response(manifest) if manifest else _status(404, "NotFound", f"{key[2]} not found")

    async def _post(self, request, key, part):
        manifest = await request.json()
        key = (key[0], key[1], manifest["metadata"]["name"])
        if key in self.objects:
            return _status(409, "AlreadyExists", f"{key[2]} already exists")
        return web.json_response(await self._store(key, manifest), status=201)

    async def _put(self, request, key, part):
        manifest = await request.json()
        present = self.objects.get(key)
        if present is None:
            return _status(404, "NotFound", f"{key[2]} not found")
        if _is_stale(manifest, present):
            return _status(409, "Conflict", "the object has been modified")
        return web.json_response(await self._store(key, manifest))

    async def _patch(self, request, key, part):
        body = json.loads(await request.text())
        present = self.objects.get(key)
        kind = request.content_type
        if present is None and (part or kind != "application/apply-patch+yaml"):
            return _status(404, "NotFound", f"{key[2]} not found")
        if present is not None and _is_stale(body, present):
            return _status(409, "Conflict", "the object has been modified")
        body.get("metadata", {}).pop("resourceVersion", None)
        if part == "status" and kind == "application/apply-patch+yaml":
            merged = {**copy.deepcopy(present), "status": body["status"]}
        else:
            merged = _merged(copy.deepcopy(present or {}), body, kind)
        if present is not None and merged == present:
            return web.json_response(present)
        return web.json_response(await self._store(key, merged))

    async def _delete(self, request, key, part):
        if key not in self.objects:
            return _status(404, "NotFound", f"{key[2]} not found")
        await self.remove(key[0], key[2], key[1])
        return web.json_response({})


def _split(path):
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    namespace = None
    if parts[0] == "namespaces":
        namespace, parts = parts[1], parts[2:]
    plural, name, part = [*parts, None, None][:3]
    return namespace, plural, name, part


def _selected(manifest, request):
    labels = manifest["metadata"].get("labels", {})
    selector = request.query.get("labelSelector", "")
    if " in " in selector:
        label, values = selector.split(" in ")
        return labels.get(label.strip()) in [value.strip() for value in values.strip("() ").split(",")]
    return all(labels.get(k) == v for k, v in (item.split("=") for item in selector.split(",") if item))


def _is_stale(body, present):
    version = body.get("metadata", {}).get("resourceVersion")
    return version is not None and version != present["metadata"]["resourceVersion"]


def _merged(target, patch, kind):
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        elif isinstance(value, dict):
            target[name] = _merged(target.get(name) or {}, value, kind)
        elif name == "conditions" and "strategic" in kind:
            types = {item["type"] for item in value}
            target[name] = [item for item in target.get(name, []) if item["type"] not in types] + value
        else:
            target[name] = value
    return target


def _status(code, reason, message):
    return web.json_response({"kind": "Status", "code": code, "reason": reason, "message": message}, status=code)
