"""A bare cluster of its own to be killed: another folder and network namespace than the one that is kept.

The namespace lives as long as one process that only sleeps, so nothing of it is left however the tests end.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from e2e.cluster import cgroups, mounts, network
from e2e.cluster.command import run
from e2e.cluster.settings import Settings, from_environment
from e2e.kube import WaitTimeoutError

COMMAND_SECONDS: Final = 120.0
STEP_SECONDS: Final = 60.0
ENDS_SECONDS: Final = 30.0
OUTSIDE: Final = "192.0.2.2"
"""An address that no pod may reach: of a documentation network, in a namespace beside the cluster's."""
OUTSIDE_PORT: Final = 8099
_CONNECT: Final = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2).close()
except OSError as error:
    sys.exit(str(error))
"""
_LISTEN: Final = """
import socket, sys
with socket.create_server((sys.argv[1], int(sys.argv[2]))) as server:
    print("listening", flush=True)
    while True:
        server.accept()[0].close()
"""


@dataclass(frozen=True, slots=True)
class Traces:
    """What there is of a cluster on the machine; equal before `up` and after `down`."""

    processes: frozenset[str]
    mounts: tuple[str, ...]
    groups: tuple[str, ...]
    devices: str
    routes: str
    tables: str
    kernel: str
    remembered: frozenset[str]


class Space:
    """A network namespace, held by a process that sleeps."""

    def __init__(self, holder: int) -> None:
        self.holder = holder

    def enter(self, *command: str) -> list[str]:
        """Return the command line that runs a command inside."""
        return ["nsenter", f"--net=/proc/{self.holder}/ns/net", *command]

    def run(self, *command: str) -> str:
        """Run a command inside and return what it printed. Raises CommandFailedError."""
        return run(self.enter(*command), timeout_seconds=COMMAND_SECONDS)


class Trial:
    """The cluster to be killed, in its namespace and folder."""

    def __init__(self, space: Space, state: Path) -> None:
        self.space = space
        self._environment = {**os.environ, "LARDER_STATE": str(state)}

    @property
    def settings(self) -> Settings:
        """Its settings; its mark is there once it was up."""
        return from_environment(self._environment)

    def command(self, *arguments: str) -> str:
        """Run `python -m e2e.cluster` with these arguments to its end. Raises CommandFailedError."""
        return run(self._command(arguments), timeout_seconds=COMMAND_SECONDS, env=self._environment)

    def interrupt(self, arguments: Sequence[str], step: str, number: signal.Signals) -> None:
        """Run the same, and signal it as soon as it says that it begins a step."""
        with subprocess.Popen(
            self._command(arguments), env=self._environment, stderr=subprocess.PIPE, text=True
        ) as process:
            watchdog = threading.Timer(STEP_SECONDS, process.kill)
            watchdog.start()
            assert process.stderr is not None
            said = ""
            for line in process.stderr:
                said += line
                if step in line:
                    process.send_signal(number)
                    break
            said += process.stderr.read()
            process.wait()
            watchdog.cancel()
        if step not in said:
            raise WaitTimeoutError(f"{' '.join(arguments)} did not come to {step!r}; it said {said}")

    def is_up(self) -> bool:
        """Return whether pods could be run and found right now; asked inside the namespace."""
        status = subprocess.run(
            self._command(["status"]), env=self._environment, capture_output=True, timeout=COMMAND_SECONDS, check=False
        )
        return status.returncode == 0

    def kill_everything(self) -> None:
        """SIGKILL every process of the cluster, containers and shims included."""
        settings = self.settings
        cgroups.kill(settings.cgroup, cgroups.hierarchies())

    def traces(self) -> Traces:
        """Return what there is of the cluster right now."""
        settings = self.settings
        groups = (root / settings.cgroup for root in cgroups.hierarchies())
        kernel = [f"/proc/sys/{name}" for name in network.CHANGED_KERNEL_SETTINGS if name.startswith("net/ipv4")]
        return Traces(
            processes=frozenset(_processes(settings, self.space.holder)),
            mounts=tuple(str(path) for path in mounts.below(settings.state)),
            groups=tuple(str(path) for path in groups if path.exists()),
            devices=self.space.run("ip", "-brief", "link", "show"),
            routes=self.space.run("ip", "route", "show", "table", "all"),
            tables=self.space.run("nft", "list", "tables"),
            kernel=self.space.run("cat", *kernel),
            remembered=frozenset(_remembered(settings)),
        )

    def pod_namespaces(self) -> list[Path]:
        """Return the network namespaces of its pods."""
        return [path for path in mounts.below(self.settings.state) if path.name.startswith("cni-")]

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return self.space.enter(sys.executable, "-m", "e2e.cluster", *arguments)


@contextlib.contextmanager
def space() -> Iterator[Space]:
    """Yield a network namespace with nothing but its loopback device."""
    with subprocess.Popen(["unshare", "--net", "sleep", "infinity"], start_new_session=True) as holder:
        try:
            _await_own_namespace(holder.pid)
            made = Space(holder.pid)
            made.run("ip", "link", "set", "lo", "up")
            yield made
        finally:
            holder.kill()


@contextlib.contextmanager
def trial() -> Iterator[Trial]:
    """Yield a cluster that is not up, in a folder beside that of the cluster that is kept; remove it afterwards."""
    state = from_environment().state
    with space() as own:
        made = Trial(own, state.with_name(f"{state.name}-trial"))
        made.command("down", "--purge")
        try:
            yield made
        finally:
            made.command("down", "--purge")


@contextlib.contextmanager
def outside(inside: Space) -> Iterator[None]:
    """Somebody at OUTSIDE who listens, routed to and fro, as long as the block runs."""
    with space() as beyond:
        inside.run("ip", "link", "add", "out0", "type", "veth", "peer", "name", "in0", "netns", str(beyond.holder))
        inside.run("ip", "address", "add", "192.0.2.1/24", "dev", "out0")
        inside.run("ip", "link", "set", "out0", "up")
        beyond.run("ip", "address", "add", f"{OUTSIDE}/24", "dev", "in0")
        beyond.run("ip", "link", "set", "in0", "up")
        beyond.run("ip", "route", "add", "default", "via", "192.0.2.1")
        listener = beyond.enter(sys.executable, "-c", _LISTEN, OUTSIDE, str(OUTSIDE_PORT))
        with subprocess.Popen(listener, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                process.stdout.readline()
                yield
            finally:
                process.kill()
                inside.run("ip", "link", "delete", "out0")


def refusal(namespace: Path) -> str | None:
    """Return why somebody in the namespace can't connect to OUTSIDE; None if he can."""
    enter = ["nsenter", f"--net={namespace}", sys.executable, "-c", _CONNECT, OUTSIDE, str(OUTSIDE_PORT)]
    done = subprocess.run(enter, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    return None if done.returncode == 0 else done.stderr.strip()


def _processes(settings: Settings, holder: int) -> Iterator[str]:
    """In the namespace, in the control group, or named after the folder."""
    namespace = Path(f"/proc/{holder}/ns/net").readlink()
    members = cgroups.processes(settings.cgroup, cgroups.hierarchies())
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) in {holder, os.getpid()}:
            continue
        with contextlib.suppress(OSError):
            line = (folder / "cmdline").read_text().replace("\0", " ")
            inside = (folder / "ns" / "net").readlink() == namespace
            if inside or int(folder.name) in members or f"{settings.state}/" in line:
                yield f"{folder.name} {line}"


def _remembered(settings: Settings) -> Iterator[str]:
    """What the CNI library remembers, outside of the folder, of pods of the cluster."""
    for file in network.CNI_RESULTS.glob("*") if network.CNI_RESULTS.is_dir() else ():
        with contextlib.suppress(OSError):
            if network.pod_devices(file.read_text(), settings.state) is not None:
                yield file.name


def _await_own_namespace(process_id: int) -> None:
    deadline = time.monotonic() + ENDS_SECONDS
    while Path(f"/proc/{process_id}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
        if time.monotonic() > deadline:
            raise WaitTimeoutError("unshare did not make a network namespace")
        time.sleep(0.01)
