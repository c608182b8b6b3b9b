"""The one way demo and tests reach a cluster: the embedded one, or the one that KUBECONFIG names."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import images, lifecycle
from e2e.cluster.builder import build
from e2e.cluster.command import run
from e2e.cluster.errors import ClusterError
from e2e.cluster.progress import Progress
from e2e.cluster.settings import Settings, from_environment


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that is up. `references` are {role: image}: larder, triton, envoy and prometheus."""

    kubeconfig: Path
    references: Mapping[str, str]
    kubectl_program: Path
    helm_program: Path

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_seconds: float = 60.0) -> str:
        """Run kubectl and return its standard output. Raises CommandFailedError with what it said."""
        return self._run(self.kubectl_program, arguments, stdin, timeout_seconds)

    def helm(self, *arguments: str, stdin: str | None = None, timeout_seconds: float = 300.0) -> str:
        """Run helm and return its standard output. Raises CommandFailedError with what it said."""
        return self._run(self.helm_program, arguments, stdin, timeout_seconds)

    def values(self) -> str:
        """A Helm values file (JSON, which is YAML) with this cluster's images."""
        return images.values(self.references)

    def _run(self, program: Path, arguments: tuple[str, ...], stdin: str | None, timeout_seconds: float) -> str:
        env = {"KUBECONFIG": str(self.kubeconfig)}
        return run([program, *arguments], stdin=stdin, timeout_seconds=timeout_seconds, env=env, keep_errors_apart=True)


def use(*, durable: bool = False, environment: Mapping[str, str] | None = None) -> Cluster:
    """A cluster that is up: that of KUBECONFIG, with images pushed to LARDER_REGISTRY, else the embedded one.

    `durable`: the embedded etcd syncs to disk, as a real one does; ask for it when something is timed.
    """
    env = os.environ if environment is None else environment
    settings = from_environment(env, durable=durable)
    given = env.get("KUBECONFIG")
    with Progress() as progress:
        if given and Path(given) != settings.kubeconfig:
            return _external(settings, Path(given), env, progress)
        artefacts = lifecycle.up(settings, progress)
    references = {role: artefacts.references[role] for role in images.ROLES}
    return Cluster(settings.kubeconfig, references, settings.bin / "kubectl", settings.bin / "helm")


def _external(settings: Settings, kubeconfig: Path, env: Mapping[str, str], progress: Progress) -> Cluster:
    registry = env.get("LARDER_REGISTRY")
    if not registry:
        raise ClusterError("KUBECONFIG names a cluster; set LARDER_REGISTRY to a registry that its nodes can pull from")
    if not kubeconfig.is_file():
        raise ClusterError(f"KUBECONFIG is {kubeconfig}, which is not a file")
    kubectl, helm = (_program(name) for name in ("kubectl", "helm"))
    artefacts = build(settings, progress, programs=False)
    verify = env.get("LARDER_REGISTRY_TLS_VERIFY", "true").lower() != "false"
    references = {}
    for role in images.ROLES:
        with progress.step(f"Pushing image {role}"):
            references[role] = images.push(settings, artefacts.images[role], registry, verify=verify)
    return Cluster(kubeconfig, references, kubectl, helm)


def _program(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise ClusterError(f"{name} is not on PATH; with KUBECONFIG set, {name} of your choice is used")
    return Path(found)
