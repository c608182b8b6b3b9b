"""Larder's own chart on a cluster: installed with helm as a user does it, and removed."""

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from e2e.kube import Kube, Manifest
from larder.errors import LarderError

ROOT: Final = Path(__file__).resolve().parents[1]
CHART: Final = ROOT / "helm" / "larder"
RELEASE: Final = "larder"
NAMESPACE: Final = "larder-system"
CRDS: Final = ("models.larder.dev", "modelpools.larder.dev")
HELM_SECONDS: Final = 120.0
READY_SECONDS: Final = 90.0


class ToolFailedError(LarderError):
    """helm or kubectl ended with an error; the message is its own."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The command lines of kubectl and helm, kubeconfig included, and the values that name this cluster's images."""

    kubectl: tuple[str, ...]
    helm: tuple[str, ...]
    values: str

    def with_values(self, **changed: Manifest) -> "Tools":
        """Return the same with these top-level values of the chart changed."""
        return replace(self, values=json.dumps({**json.loads(self.values), **changed}))


def run(command: Sequence[str], timeout_seconds: float, given: str | None = None) -> str:
    """Return what a tool printed. Raises ToolFailedError with its complaint, also when it took too long."""
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=timeout_seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ToolFailedError(f"{' '.join(command)} took more than {timeout_seconds:.0f} s") from error
    if done.returncode != 0:
        raise ToolFailedError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def install(tools: Tools, extra: Sequence[str] = ()) -> None:
    """Install the chart, or bring what is installed in step with it. Raises ToolFailedError."""
    command = ["upgrade", "--install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--create-namespace"]
    run([*tools.helm, *command, "--values", "-", *extra], HELM_SECONDS, tools.values)


def uninstall(tools: Tools) -> None:
    """Remove the release; one that is not there is fine. The custom resource definitions stay."""
    run([*tools.helm, "uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found", "--wait"], HELM_SECONDS)


def wait_ready(kube: Kube, progress: Callable[[str], None] = lambda _: None) -> None:
    """Wait until every Deployment of the release runs its newest pods. Raises WaitTimeoutError."""

    def holds(deployments: Mapping[str, Manifest]) -> bool:
        progress(", ".join(f"{name} {_ready(item)}" for name, item in deployments.items()))
        return bool(deployments) and all(is_rolled_out(item) for item in deployments.values())

    kube.within(NAMESPACE).until_all("Deployment", holds, READY_SECONDS, "the operator is ready")


def is_rolled_out(deployment: Manifest) -> bool:
    """Return whether all wanted pods are ready and of the present spec, and no other is left."""
    wanted = deployment["spec"].get("replicas", 1)
    status = deployment.get("status", {})
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == wanted
        and status.get("readyReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
    )


def _ready(deployment: Manifest) -> str:
    return f"{deployment.get('status', {}).get('readyReplicas', 0)}/{deployment['spec'].get('replicas', 1)} ready"
