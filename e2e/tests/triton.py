"""Triton itself, behind the gateway: its index and its admin calls, with the operator's key, and what its log tells."""

import base64
import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import tritonclient.grpc

from e2e.forward import forward
from e2e.tests.stage import POOL, Stage
from larder.api.names import GRPC_PORT, TRITON_ADMIN_HEADER, TRITON_ADMIN_KEY, keys_name


class Triton:
    """One pod's Triton, as the operator sees it."""

    def __init__(self, client: Any, key: str) -> None:
        self._client = client
        self._headers = {f"triton-grpc-protocol-{TRITON_ADMIN_HEADER}": key}

    def ready(self) -> set[str]:
        """Return the models that are loaded and ready."""
        return {name for name, state in self._states() if state == "READY"}

    def occupied(self) -> set[str]:
        """Return the models that are loaded, or on their way in or out."""
        return {name for name, state in self._states() if state in ("READY", "LOADING", "UNLOADING")}

    def _states(self) -> list[tuple[str, str | None]]:
        index = self._client.get_model_repository_index(headers=self._headers, as_json=True)
        return [(entry["name"], entry.get("state")) for entry in index.get("models", [])]

    def load(self, model: str) -> None:
        """Load a model behind Larder's back."""
        self._client.load_model(model, headers=self._headers)

    def unload(self, model: str) -> None:
        """Unload a model behind Larder's back."""
        self._client.unload_model(model, headers=self._headers)


@contextlib.contextmanager
def triton(stage: Stage) -> Iterator[Triton]:
    """Forward the one Triton pod of the stage's pool."""
    (pod,) = stage.triton_pods()
    secret = stage.kube.get("Secret", keys_name(POOL))
    assert secret is not None
    key = base64.b64decode(secret["data"][TRITON_ADMIN_KEY]).decode()
    target = f"pod/{pod['metadata']['name']}"
    with forward(stage.target.tools.kubectl, stage.namespace, target, (GRPC_PORT,)) as ports:
        client = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{ports[GRPC_PORT]}")
        try:
            yield Triton(client, key)
        finally:
            client.close()


SAID: Final = re.compile(r"\b(loading: |successfully unloaded ')([a-z0-9_-]+)")
"""What Triton says when it begins to load a model, and when one is gone."""


@dataclass(frozen=True, slots=True)
class Loads:
    """How often a Triton began to load each model, the most models that it held at once, loading and unloading ones
    included, and those that it loaded while it held them."""

    began: Counter[str]
    most: int
    twice: list[str]


def loads(stage: Stage, pod: str) -> Loads:
    """Return what a pod's Triton says in its log of its models."""
    began: Counter[str] = Counter()
    held: set[str] = set()
    twice, most = [], 0
    for verb, name in SAID.findall(stage.kubectl("logs", pod, "--container", "triton")):
        if not verb.startswith("loading"):
            held.discard(name)
            continue
        twice += [name] if name in held else []
        began[name] += 1
        held.add(name)
        most = max(most, len(held))
    return Loads(began, most, twice)
