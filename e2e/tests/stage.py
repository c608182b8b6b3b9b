"""One test's own namespace with its own small pool, and what a test does to it and asks of it."""

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import urllib3

from e2e import models
from e2e.chart import run
from e2e.forward import forward
from e2e.kube import Kube, Manifest
from e2e.models.repository import SUB_PATH
from e2e.served import served
from e2e.target import Target
from larder.api.names import (
    API_VERSION,
    COMPONENT_LABEL,
    GRPC_PORT,
    HTTP_PORT,
    POOL_LABEL,
    TRITON,
)

POOL: Final = "pool"
READY_SECONDS: Final = 90.0
PHASE_SECONDS: Final = 30.0
REQUEST_SECONDS: Final = 60.0
KUBECTL_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What a probe answered: the number, its own name, and which load on which pod it was; else status and sentence."""

    status: int
    number: int | None = None
    model: str | None = None
    load: str | None = None
    pod: str | None = None
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class Pool:
    """Clients of the stage's pool: `ports` are where those of its Service are reached at `address`."""

    def __init__(self, ports: Mapping[int, int], address: str = "127.0.0.1") -> None:
        self.http = f"{address}:{ports[HTTP_PORT]}"
        self.grpc = f"{address}:{ports[GRPC_PORT]}"
        self._connections = urllib3.PoolManager(maxsize=64, retries=False)

    def ask(self, model: str, number: int = 1, timeout_seconds: float = REQUEST_SECONDS) -> Reply:
        """Ask a probe to add one. An answer with an error is a Reply; a broken connection raises."""
        tensor = {"name": "INPUT0", "datatype": "INT32", "shape": [1], "data": [number]}
        body = json.dumps({"inputs": [tensor]}).encode()
        return self.post(f"/v2/models/{model}/infer", body, timeout_seconds)

    def ask_at_once(self, model: str, count: int) -> list[Reply]:
        """Ask so many times in parallel."""
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(lambda number: self.ask(model, number), range(count)))

    def post(self, path: str, body: bytes = b"", timeout_seconds: float = REQUEST_SECONDS) -> Reply:
        """POST, and return what came back."""
        return self._request("POST", path, body, timeout_seconds)

    def get(self, path: str, timeout_seconds: float = REQUEST_SECONDS) -> Reply:
        """GET, and return what came back."""
        return self._request("GET", path, b"", timeout_seconds)

    def _request(self, method: str, path: str, body: bytes, timeout_seconds: float) -> Reply:
        answer = self._connections.request(method, f"http://{self.http}{path}", body=body, timeout=timeout_seconds)
        text = answer.data.decode(errors="replace")
        if answer.status == 200 and path.endswith("/infer"):
            said = {output["name"]: output["data"][0] for output in json.loads(text)["outputs"]}
            return Reply(200, said["OUTPUT0"], said.get("MODEL"), said.get("LOAD"), said.get("POD"), text)
        return Reply(answer.status, text=text, headers=dict(answer.headers))


class Stage:
    """A namespace of one test."""

    def __init__(self, target: Target, namespace: str) -> None:
        self.target = target
        self.namespace = namespace
        self.kube: Kube = target.kube.within(namespace)

    def kubectl(self, *arguments: str, timeout_seconds: float = KUBECTL_SECONDS) -> str:
        """Run kubectl in the namespace as a user would. Raises ToolFailedError with its complaint."""
        return run([*self.target.tools.kubectl, "--namespace", self.namespace, *arguments], timeout_seconds)

    def pool(self, files: models.Files, *, wait: bool = True, name: str = POOL, **spec: Any) -> None:
        """Apply a pool on these files; `spec` replaces parts of `small_pool`. Waits until it is ready."""
        volume = models.volume(f"{name}-models", files)
        self.kube.apply(volume.config_map)
        self.kube.apply(small_pool(name, volume, spec))
        if wait:
            self.until_condition("ModelPool", name, "Ready", True, READY_SECONDS)

    def model(self, name: str, **spec: Any) -> None:
        """Apply a Model of the pool."""
        self.kube.apply(model(name, **spec))

    def until_condition(
        self, kind: str, name: str, condition: str, status: bool, timeout_seconds: float = PHASE_SECONDS
    ) -> dict[str, str]:
        """Wait until the object's condition has this status, and return it."""
        found = self.kube.until(
            kind,
            name,
            lambda item: condition_of(item, condition).get("status") == str(status),
            timeout_seconds,
            f"{kind}/{name} has {condition}={status}",
        )
        return condition_of(found, condition)

    def until_phase(self, name: str, phase: str, timeout_seconds: float = PHASE_SECONDS) -> Manifest:
        """Wait until the Model is in this phase, and return it."""
        found = self.kube.until(
            "Model",
            name,
            lambda item: ((item or {}).get("status") or {}).get("phase") == phase,
            timeout_seconds,
            f"Model/{name} is {phase}",
        )
        assert found is not None
        return found

    def until_served(self, holds: Callable[[frozenset[str]], bool], what: str, timeout_seconds: float = 30.0) -> None:
        """Wait until `holds` of the models that the pods' annotations offer."""

        def of_pods(pods: Mapping[str, Manifest]) -> bool:
            return holds(frozenset().union(*(served(pod) for pod in pods.values())))

        self.kube.until_all("Pod", of_pods, timeout_seconds, what)

    def triton_pods(self) -> list[Manifest]:
        """Return the pool's Triton pods that are not on their way out."""
        pods = self.kube.all("Pod", selector=f"{POOL_LABEL}={POOL},{COMPONENT_LABEL}={TRITON}")
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    @contextlib.contextmanager
    def clients(self) -> Iterator[Pool]:
        """Forward the pool's Service, and yield clients of it."""
        with forward(self.target.tools.kubectl, self.namespace, f"service/{POOL}", (HTTP_PORT, GRPC_PORT)) as ports:
            yield Pool(ports)

    def service_clients(self) -> Pool:
        """Return clients of the Service itself, which need no API server and find another gateway when one is gone."""
        return Pool({port: port for port in (HTTP_PORT, GRPC_PORT)}, self.service_address())

    def service_address(self) -> str:
        """Return the cluster's own address of the pool's Service."""
        service = self.kube.get("Service", POOL)
        assert service is not None
        return str(service["spec"]["clusterIP"])


def small_pool(name: str, volume: models.Volume, spec: Mapping[str, Any]) -> Manifest:
    """Return a pool with memory for four probes of the default size, quick in everything."""
    settings: Manifest = {
        "repository": {"volume": volume.source, "subPath": SUB_PATH},
        "memory": {"budget": "400Mi", "base": "100Mi", "defaultModelMemory": "64Mi"},
        "pods": {"min": 1, "max": 1},
        "autoComplete": False,
        "drainSeconds": 1,
        "protectionSeconds": 0,
        "gateway": {"replicas": 1, "longestHold": "30s"},
        "template": {"resources": {"requests": {"cpu": "50m", "memory": "400Mi"}, "limits": {"memory": "600Mi"}}},
    }
    return {"apiVersion": API_VERSION, "kind": "ModelPool", "metadata": {"name": name}, "spec": {**settings, **spec}}


def model(name: str, **spec: Any) -> Manifest:
    """Return a Model of the stage's pool."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Model",
        "metadata": {"name": name},
        "spec": {"pool": POOL, "memory": "64Mi", **spec},
    }


def probes(*names: str) -> dict[str, str]:
    """Return plain probes of these names."""
    return {path: text for name in names for path, text in models.probe(name).items()}


def condition_of(item: Manifest | None, name: str) -> dict[str, str]:
    """Return a condition by its type; empty where it is not there, or was said of an older spec."""
    status = (item or {}).get("status") or {}
    for condition in status.get("conditions", []):
        if condition["type"] == name and condition.get("observedGeneration") == (item or {})["metadata"]["generation"]:
            found: dict[str, str] = condition
            return found
    return {}


def new_namespace(test: str) -> str:
    """Return a namespace's name for a test, new each time."""
    words = test.removeprefix("test_").replace("_", "-")[:40].strip("-")
    return f"e2e-{words}-{uuid.uuid4().hex[:5]}"
