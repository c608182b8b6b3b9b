"""The bridge pods hang on, the routes to pods and Services, and the rules that keep them on this machine."""

import json
from pathlib import Path

from e2e.cluster.command import run
from e2e.cluster.errors import CommandFailedError
from e2e.cluster.host import require_free_networks
from e2e.cluster.settings import Node, Settings
from e2e.cluster.store import write

TABLE = "larder"
KUBE_PROXY_TABLES = (("ip", "kube-proxy"), ("ip6", "kube-proxy"))
BRIDGE_FILTER_SETTINGS = {"net/bridge/bridge-nf-call-iptables": "1", "net/bridge/bridge-nf-call-ip6tables": "1"}
# Written here, by the kubelet or by a CNI plugin; put back by `down`.
CHANGED_KERNEL_SETTINGS = (
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    *BRIDGE_FILTER_SETTINGS,
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
# Where the CNI library remembers what it made, outside of our folder.
CNI_RESULTS = Path("/var/lib/cni/results")
_KERNEL = Path("/proc/sys")
_SECONDS = 20.0


def bridges(settings: Settings) -> frozenset[str]:
    """The bridges of nodes that are there."""
    return _devices() & {node.bridge for node in settings.nodes}


def ensure(settings: Settings) -> None:
    """Make bridges, routes and rules; harmless where they are. ClusterError where another network is in the way."""
    ours = {node.pod_network: node.bridge for node in settings.nodes}
    require_free_networks(_routes(), {**ours, settings.service_network: settings.nodes[0].bridge})
    _remember_kernel_settings(settings.state / "kernel-settings.json")
    _set_kernel("net/ipv4/ip_forward", "1")
    for name, value in BRIDGE_FILTER_SETTINGS.items():
        _set_kernel(name, value)
    for node in settings.nodes:
        if node.bridge not in _devices():
            run(["ip", "link", "add", node.bridge, "type", "bridge"], timeout_seconds=_SECONDS)
        address = f"{node.address}/{node.pod_network.prefixlen}"
        run(["ip", "address", "replace", address, "dev", node.bridge], timeout_seconds=_SECONDS)
        run(["ip", "link", "set", node.bridge, "up"], timeout_seconds=_SECONDS)
    services = ["ip", "route", "replace", str(settings.service_network), "dev", settings.nodes[0].bridge]
    run(services, timeout_seconds=_SECONDS)
    run(["nft", "-f", "-"], stdin=rules(settings), timeout_seconds=_SECONDS)


def cut(node: Node) -> None:
    """Take the bridge of a node down; `ensure` brings it up again."""
    run(["ip", "link", "set", node.bridge, "down"], timeout_seconds=_SECONDS)


def rules(settings: Settings) -> str:
    """The packet filter: pods reach pods, Services and this machine, and nothing of theirs leaves it."""
    bridges = ", ".join(f'"{node.bridge}"' for node in settings.nodes)
    networks = ", ".join(
        str(network) for network in (*(node.pod_network for node in settings.nodes), settings.service_network)
    )
    inside = f'{{ "lo", {bridges} }}'
    return f"""\
table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
  chain forward {{
    type filter hook forward priority -10; policy accept;
    iifname {{ {bridges} }} oifname != {inside} counter reject
    ip daddr {{ {networks} }} oifname != {inside} counter reject
  }}
  chain output {{
    type filter hook output priority -10; policy accept;
    ip daddr {{ {networks} }} oifname != {inside} counter reject
  }}
}}
"""


def remove(settings: Settings) -> None:
    """Remove bridges with their routes, our tables and kube-proxy's, and put kernel settings back."""
    remove_pod_devices(settings)
    for node in settings.nodes:
        _forgiving(["ip", "link", "delete", node.bridge])
    for family, table in (("inet", TABLE), *KUBE_PROXY_TABLES):
        _forgiving(["nft", "delete", "table", family, table])
    _restore_kernel_settings(settings.state / "kernel-settings.json")


def remove_pod_devices(settings: Settings) -> None:
    """Remove this end of the pods' devices; the other ends go with them.

    Those on the bridges, and those that the CNI library remembers, as they are on no bridge once that was deleted.
    """
    present = _devices()
    found = {device for node in settings.nodes if node.bridge in present for device in _devices("master", node.bridge)}
    for file in CNI_RESULTS.glob("*") if CNI_RESULTS.is_dir() else ():
        devices = pod_devices(file.read_text(), settings.state)
        if devices is not None:
            found |= devices & present
            file.unlink()
    for device in found:
        _forgiving(["ip", "link", "delete", device])


def pod_devices(remembered: str, state: Path) -> frozenset[str] | None:
    """This end's devices of a result that the CNI library remembers; None if it is not of a pod of ours."""
    try:
        interfaces = json.loads(remembered)["result"]["interfaces"]
        ours = any(Path(interface.get("sandbox", "/")).is_relative_to(state) for interface in interfaces)
        devices = frozenset(interface["name"] for interface in interfaces if not interface.get("sandbox"))
    except (ValueError, KeyError, TypeError):
        return None
    return frozenset(name for name in devices if name.startswith("veth")) if ours else None


def _routes() -> tuple[tuple[str, str], ...]:
    listing = json.loads(run(["ip", "-4", "-json", "route", "show"], timeout_seconds=_SECONDS) or "[]")
    return tuple((route["dst"], route["dev"]) for route in listing if "dev" in route)


def _devices(*selection: str) -> frozenset[str]:
    """Names of network devices; asked of the kernel, as /sys may show another network namespace's."""
    listing = run(["ip", "-json", "link", "show", *selection], timeout_seconds=_SECONDS)
    return frozenset(device["ifname"] for device in json.loads(listing or "[]") if "ifname" in device)


def _forgiving(argv: list[str]) -> None:
    """Run a removal whose object may be gone already."""
    try:
        run(argv, timeout_seconds=_SECONDS)
    except CommandFailedError as error:
        if not any(
            sign in error.output for sign in ("Cannot find device", "No such file or directory", "No such device")
        ):
            raise


def _remember_kernel_settings(file: Path) -> None:
    """Only the first time: later values are ours."""
    if file.exists():
        return
    present = {
        name: (_KERNEL / name).read_text().strip() for name in CHANGED_KERNEL_SETTINGS if (_KERNEL / name).exists()
    }
    write(file, json.dumps(present, indent=1))


def _restore_kernel_settings(file: Path) -> None:
    if not file.exists():
        return
    for name, value in json.loads(file.read_text()).items():
        _set_kernel(name, value)
    file.unlink()


def _set_kernel(name: str, value: str) -> None:
    path = _KERNEL / name
    if path.exists() and path.read_text().strip() != value:
        path.write_text(value)
