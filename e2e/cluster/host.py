"""What the machine must be and have: Debian 12, root, room on disk, free ports, Debian packages, kernel modules."""

import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path

import psutil

from e2e.cluster.command import run
from e2e.cluster.errors import ClusterError, CommandFailedError, NoSpaceError
from e2e.cluster.settings import Versions

PACKAGES = (
    "containerd",
    "runc",
    "containernetworking-plugins",
    "iptables",
    "conntrack",
    "nftables",
    "iproute2",
    "buildah",
    "debootstrap",
    "prometheus",
)
KERNEL_MODULES = ("overlay", "br_netfilter", "nf_conntrack", "nf_tables")
BRIDGE_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")

GIB = 1 << 30
FIRST_BUILD_BYTES = 12 * GIB
RUNNING_BYTES = 2 * GIB

_POLICY = Path("/usr/sbin/policy-rc.d")


def require_supported(versions: Versions) -> None:
    """Raise ClusterError unless this is Debian 12 on x86-64 and we are root."""
    release = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    check_system(release, platform.machine(), os.geteuid(), versions)


def check_system(release: Mapping[str, str], machine: str, user_id: int, versions: Versions) -> None:
    """The rules of `require_supported` on given facts."""
    system = f"{release.get('ID', 'unknown')} {release.get('VERSION_ID', '')}".strip()
    wanted = f"debian {versions.debian_release}"
    if system != wanted:
        raise ClusterError(f"The embedded cluster needs {wanted}, this is {system}; set KUBECONFIG to use another one")
    if machine != "x86_64":
        raise ClusterError(f"The embedded cluster needs an x86_64 machine, this is {machine}")
    if user_id != 0:
        raise ClusterError("The embedded cluster needs root: run the same command with sudo")


def require_space(folder: Path, needed_bytes: int) -> None:
    """Raise NoSpaceError unless the file system of `folder` has that much left."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free_bytes = shutil.disk_usage(existing).free
    if free_bytes < needed_bytes:
        raise NoSpaceError(
            f"{folder} has {free_bytes / GIB:.1f} GiB left on its disk, {needed_bytes / GIB:.0f} GiB are needed"
        )


def require_free_ports(ports: Mapping[int, str]) -> None:
    """Raise ClusterError naming the process that holds one of the ports ({port: who of ours needs it})."""
    for connection in psutil.net_connections(kind="tcp"):
        port = connection.laddr.port if connection.laddr else None
        if connection.status != psutil.CONN_LISTEN or port is None or port not in ports:
            continue
        raise ClusterError(f"Port {port}, which {ports[port]} needs, is held by {_holder(connection.pid)}")


def require_free_networks(routes: Iterable[tuple[str, str]], ours: Mapping[IPv4Network, str]) -> None:
    """Raise ClusterError where a route ((destination, device)) of another device overlaps one of our networks."""
    for destination, device in routes:
        if destination == "default" or device in ours.values():
            continue
        network = IPv4Network(destination, strict=False)
        for mine in ours:
            if network.overlaps(mine):
                raise ClusterError(f"The cluster's network {mine} overlaps the route to {network} over {device}")


def install_packages() -> None:
    """Install what is missing of PACKAGES, starting and enabling no service."""
    missing = missing_packages()
    if not missing:
        return
    with _services_kept_stopped():
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update", "-q"], timeout_seconds=300, env=env, downloads=True)
        install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing]
        run(install, timeout_seconds=900, env=env, downloads=True)
    units = [f"{name}.service" for name in ("containerd", "prometheus") if name in missing]
    if units and shutil.which("deb-systemd-helper"):  # what Debian's own scripts enable services with
        run(["deb-systemd-helper", "disable", *units], timeout_seconds=60)


def missing_packages() -> tuple[str, ...]:
    """Those of PACKAGES that dpkg does not list as installed."""
    query = ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *PACKAGES]
    try:
        listing = run(query, timeout_seconds=60)
    except CommandFailedError as error:  # it fails when one of them was never known
        listing = error.output
    installed = {line.split()[0] for line in listing.splitlines() if line.endswith(" installed")}
    return tuple(name for name in PACKAGES if name not in installed)


def load_kernel_modules() -> None:
    """Load what the kernel has as modules; raise ClusterError if bridged packets still bypass packet filtering."""
    if shutil.which("modprobe"):
        for module in KERNEL_MODULES:
            try:
                run(["modprobe", module], timeout_seconds=30)
            except CommandFailedError:
                continue  # it may be built in; what counts is checked below
    if not BRIDGE_FILTER.exists():
        raise ClusterError("The kernel lacks br_netfilter: a pod could not reach a Service on its own node")


def has_capability(number: int) -> bool:
    """Whether we may use a Linux capability, by its number."""
    status = Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> number & 1)


@contextmanager
def _services_kept_stopped() -> Iterator[None]:
    """Debian's maintainer scripts ask policy-rc.d before starting a service; 101 means no."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)


def _holder(process_id: int | None) -> str:
    if process_id is None:
        return "a process that cannot be seen from here"
    try:
        return f"{psutil.Process(process_id).name()} (process {process_id})"
    except psutil.NoSuchProcess:
        return f"process {process_id}, which just ended"
