"""A control plane without machines: a real API server with its etcd, controllers and scheduler, and kwok for the rest.

Everything runs in the caller's network namespace and ends with the caller. kwok plays nodes and pods: a pod gets an
address at once, its containers run, and it is ready when its readiness gate is. All addresses of pods are this
machine's own, so that whoever listens there is the pod.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml

from e2e.cluster import api, components, pki
from e2e.cluster.command import run
from e2e.cluster.settings import REPOSITORY, Settings
from e2e.cluster.store import write
from e2e.kube import WaitTimeoutError
from e2e.processes import end
from larder.api import names

POD_NETWORK: Final = "10.64.0.0/16"
NODES: Final = 5
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 20.0
NAMESPACE: Final = "larder-system"
USER: Final = f"system:serviceaccount:{NAMESPACE}:larder-operator"
INSTALL: Final = REPOSITORY / "manifests" / "install.yaml"
_CONTROLLERS: Final = "--controllers=deployment-controller,replicaset-controller,node-lifecycle-controller"
_POLICY: Final = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [
        {"level": "Metadata", "users": [USER], "verbs": ["create", "update", "patch", "delete", "deletecollection"]},
        {"level": "None"},
    ],
}
_STARTS: Final = """
{{ $now := Now }}
conditions:
- {lastTransitionTime: {{ $now | Quote }}, status: "True", type: Initialized}
- {lastTransitionTime: {{ $now | Quote }}, status: "True", type: ContainersReady}
- type: Ready
  status: {{ if .spec.readinessGates }}"False"{{ else }}"True"{{ end }}
  lastTransitionTime: {{ $now | Quote }}
containerStatuses:
{{ $uid := .metadata.uid }}
{{ range .spec.containers }}
- image: {{ .image | Quote }}
  name: {{ .name | Quote }}
  containerID: "kwok://{{ $uid }}-{{ .name }}"
  ready: true
  restartCount: 0
  state: {running: {startedAt: {{ $now | Quote }}}}
{{ end }}
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
{{ $meta := .metadata }}
podIP: {{ PodIPWith .spec.nodeName false (or $meta.uid "") (or $meta.name "") (or $meta.namespace "") | Quote }}
phase: Running
startTime: {{ $now | Quote }}
"""
_IS_READY: Final = """
conditions:
- {lastTransitionTime: {{ Now | Quote }}, status: "True", type: Ready}
"""


@dataclass(frozen=True, slots=True)
class Programs:
    """What was built: Kubernetes as one binary, and kwok."""

    kubernetes: Path
    kwok: Path


@dataclass(frozen=True, slots=True)
class Machine:
    """A control plane that runs."""

    settings: Settings
    programs: Programs

    @property
    def audit(self) -> Path:
        """What the operator wrote to the API server, one request a line."""
        return self.settings.state / "audit.log"

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl as the administrator and return what it printed."""
        program = (str(self.programs.kubernetes), "kubectl", f"--kubeconfig={self.settings.kubeconfig}")
        return run((*program, *arguments), timeout_seconds=START_SECONDS, stdin=stdin)

    @contextlib.contextmanager
    def operator(self) -> "Iterator[subprocess.Popen[bytes]]":
        """Run the operator of this repository as its Deployment does, as the service account of its own."""
        container = _operator_container()
        told = {item["name"]: item["value"] for item in container["env"] if "value" in item}
        environment = {
            **told,
            "LARDER_NAMESPACE": NAMESPACE,
            "POD_NAME": "larder-operator-0",
            "KUBECONFIG": str(self._operator_kubeconfig()),
        }
        argv = [str(Path(sys.executable).with_name(container["command"][0])), *container["args"]]
        with program("operator", argv, self.settings.state, environment) as process:
            yield process

    def _operator_kubeconfig(self) -> Path:
        token = self.kubectl("create", "token", "larder-operator", f"--namespace={NAMESPACE}", "--duration=12h")
        config = yaml.safe_load(self.settings.kubeconfig.read_text())
        config["users"] = [{"name": user["name"], "user": {"token": token.strip()}} for user in config["users"]]
        path = self.settings.state / "operator.kubeconfig"
        write(path, yaml.safe_dump(config), 0o600)
        return path


@contextlib.contextmanager
def machine(settings: Settings, programs: Programs) -> Iterator[Machine]:
    """Yield a control plane with nodes, Larder's custom resources and the operator's permissions, and no operator."""
    made = Machine(settings, programs)
    pki.ensure(settings.state / "pki", pki.identities(settings))
    for file in components.kubeconfigs(settings):
        write(file.path, file.content, file.mode)
    _take_addresses(settings)
    with contextlib.ExitStack() as running:
        for name, argv in _commands(made):
            running.enter_context(program(name, argv, settings.state))
            if name == "kube-apiserver":
                until(lambda: api.is_ready(settings), START_SECONDS, "the API server is ready")
        _install(made)
        yield made


@contextlib.contextmanager
def program(
    name: str, argv: list[str], folder: Path, environment: Mapping[str, str] | None = None
) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a program that writes to a log of its name; it ends with the block, and at once if this process dies."""
    env = {**os.environ, "HOME": str(folder), **(environment or {})}
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *argv], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            end(process, STOP_SECONDS)


def until(holds: Callable[[], bool], timeout_seconds: float, what: str) -> None:
    """Wait until it holds. Raises WaitTimeoutError that says what did not come true."""
    deadline = time.monotonic() + timeout_seconds
    while not holds():
        if time.monotonic() > deadline:
            raise WaitTimeoutError(f"after {timeout_seconds:.0f} s still not: {what}")
        time.sleep(0.1)


def _take_addresses(settings: Settings) -> None:
    """The API server's address and those of all pods are this namespace's own."""
    run(["ip", "address", "replace", f"{settings.nodes[0].address}/32", "dev", "lo"], timeout_seconds=START_SECONDS)
    run(["ip", "route", "replace", "local", POD_NETWORK, "dev", "lo"], timeout_seconds=START_SECONDS)


def _commands(made: Machine) -> Iterator[tuple[str, list[str]]]:
    settings, kubernetes = made.settings, made.programs.kubernetes
    policy, stages = settings.state / "audit.yaml", settings.state / "stages.yaml"
    write(policy, yaml.safe_dump(_POLICY))
    write(stages, yaml.safe_dump_all(_stages()))
    audit = (f"--audit-policy-file={policy}", f"--audit-log-path={made.audit}", "--audit-log-maxsize=2000")
    server = components.apiserver(settings, kubernetes, "")
    controllers = components.controller_manager(settings, kubernetes)
    for each in (
        components.etcd(settings, kubernetes),
        replace(server, argv=(*server.argv, *audit)),
        replace(controllers, argv=(*controllers.argv, _CONTROLLERS)),
        components.scheduler(settings, kubernetes),
    ):
        yield each.name, list(each.argv)
    first = POD_NETWORK.replace(".0/", ".1/")
    kwok = (f"--kubeconfig={settings.kubeconfig}", "--manage-all-nodes=true", f"--cidr={first}", f"--config={stages}")
    yield "kwok", [str(made.programs.kwok), *kwok, f"--node-ip={settings.nodes[0].address}"]


def _stages() -> list[dict[str, Any]]:
    """What kwok does to pods: they start at once, and are ready as soon as their gate is open."""
    gate = f'.status.conditions.[] | select(.type == "{names.SERVING_GATE}") | .status'
    ready = '.status.conditions.[] | select(.type == "Ready") | .status'
    there = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}
    return [
        _stage("starts", [there, {"key": ".status.podIP", "operator": "DoesNotExist"}], {"statusTemplate": _STARTS}),
        _stage(
            "is-ready",
            [
                there,
                {"key": gate, "operator": "In", "values": ["True"]},
                {"key": ready, "operator": "NotIn", "values": ["True"]},
            ],
            {"statusTemplate": _IS_READY},
        ),
        _stage(
            "ends",
            [{"key": ".metadata.deletionTimestamp", "operator": "Exists"}],
            {"finalizers": {"empty": True}, "delete": True},
        ),
    ]


def _stage(name: str, expressions: list[dict[str, Any]], then: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
            "selector": {"matchExpressions": expressions},
            "next": then,
        },
    }


def _install(made: Machine) -> None:
    """Everything of the plain manifests but what runs the operator, and the nodes."""
    left_out = {"Deployment", "PodDisruptionBudget", "Service"}
    manifests = [item for item in yaml.safe_load_all(INSTALL.read_text()) if item and item["kind"] not in left_out]
    nodes = [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"machine-{number}"}} for number in range(NODES)]
    made.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all([*manifests, *nodes]))
    made.kubectl("wait", "--for=condition=Established", "crd/modelpools.larder.dev", "crd/models.larder.dev")
    made.kubectl("wait", "--for=condition=Ready", "node", "--all", f"--timeout={START_SECONDS:.0f}s")


def _operator_container() -> dict[str, Any]:
    found = [item for item in yaml.safe_load_all(INSTALL.read_text()) if item and item["kind"] == "Deployment"]
    container: dict[str, Any] = found[0]["spec"]["template"]["spec"]["containers"][0]
    return container
