"""Brings a cluster up, takes it down, and says how it is. Every step looks at what is there first."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from string import Template

from e2e.cluster import api, binaries, cgroups, components, containers, host, images, mounts, network, pki, processes
from e2e.cluster.builder import Artefacts, build
from e2e.cluster.command import run
from e2e.cluster.errors import ClusterError
from e2e.cluster.processes import Program
from e2e.cluster.progress import Progress
from e2e.cluster.settings import Node, Settings, marked
from e2e.cluster.store import digest, locked, remove, write

LOCK_SECONDS = 1800.0
READY_SECONDS = 90.0
CLUSTER_NAME = "cluster.local"
_COREDNS = Path(__file__).with_name("manifests") / "coredns.yaml"


@dataclass(frozen=True, slots=True)
class Plan:
    """The programs of a cluster in the order they are needed."""

    store: Program
    runtimes: tuple[Program, ...]
    server: Program
    rest: tuple[Program, ...]

    @property
    def all(self) -> tuple[Program, ...]:
        """Every program."""
        return (self.store, *self.runtimes, self.server, *self.rest)


def up(settings: Settings, progress: Progress, *, bare: bool = False) -> Artefacts:
    """Build what is missing, start what does not run, load images, and return when pods, Services and DNS work.

    `bare`: of the images only those that Kubernetes itself needs are loaded.
    """
    host.require_supported(settings.versions)
    with locked(settings.state / "lock", timeout_seconds=LOCK_SECONDS, waiting=progress.say):
        settings = marked(settings)
        host.require_space(settings.state, host.RUNNING_BYTES)
        if host.missing_packages():
            with progress.step("Installing Debian packages"):
                host.install_packages()
        host.load_kernel_modules()
        artefacts = build(settings, progress)
        _link_programs(settings, artefacts)
        with progress.step("Starting the control plane"):
            plan = _prepare(_kept_durable(settings), artefacts)
            _start_control_plane(settings, plan)
        roles = images.SYSTEM_ROLES if bare else tuple(artefacts.images)
        _load_images(settings, [artefacts.images[role] for role in roles], progress)
        with progress.step("Starting the nodes"):
            _start_nodes(settings, plan)
        with progress.step("Starting DNS"):
            _start_dns(settings, artefacts)
    return artefacts


def down(settings: Settings, progress: Progress, *, purge: bool = False) -> None:
    """End everything of the cluster and its contents; keep certificates and images, unless `purge`."""
    host.require_supported(settings.versions)
    with locked(settings.state / "lock", timeout_seconds=LOCK_SECONDS, waiting=progress.say):
        settings, roots = marked(settings), cgroups.hierarchies()
        if _is_anything_left(settings, roots):
            with progress.step("Ending the control plane"):
                _stop_all_but_runtimes(settings)
            with progress.step("Ending containers"):
                for node in settings.nodes:
                    cgroups.kill(settings.cgroup_of(node), roots, cgroups.PODS)
                _remove_containers(settings, roots, progress)
            with progress.step("Removing mounts, network and control groups"):
                _stop(settings, [f"containerd-{node.name}" for node in settings.nodes])
                _remove_traces(settings, roots)
        if purge:
            remove(settings.state)


def lose(settings: Settings, node: Node, progress: Progress) -> None:
    """Cut a node off, as when its machine loses its network: nobody hears its kubelet or reaches a pod; `up` heals it.

    Its containers run on, which is the harder case for who must not use them.
    """
    with locked(settings.state / "lock", timeout_seconds=LOCK_SECONDS, waiting=progress.say):
        _stop(settings, [f"kubelet-{node.name}"])
        network.cut(node)


def reload_images(settings: Settings, progress: Progress) -> Artefacts:
    """Build what changed and, if the cluster is up, load it."""
    host.require_supported(settings.versions)
    with locked(settings.state / "lock", timeout_seconds=LOCK_SECONDS, waiting=progress.say):
        artefacts = build(settings, progress)
        if all(processes.running(_records(settings), f"containerd-{node.name}") for node in settings.nodes):
            _load_images(settings, artefacts.images.values(), progress)
    return artefacts


def program_states(settings: Settings) -> dict[str, int | None]:
    """{name of a program: its process id, None if it does not run}."""
    names = [name for name, _ in _graces(settings)]
    records = {name: processes.running(_records(settings), name) for name in names}
    return {name: record.process_id if record else None for name, record in records.items()}


def is_up(settings: Settings) -> bool:
    """Whether pods could be run and found right now."""
    nodes_ready = all(api.node_is_ready(settings, node.name, None) for node in settings.nodes)
    running = None not in program_states(settings).values()
    return running and nodes_ready and api.resolves(settings.dns_address, f"kubernetes.default.svc.{CLUSTER_NAME}")


@contextmanager
def without_api_server(settings: Settings) -> Iterator[None]:
    """Within, the API server is away, killed; afterwards it answers again, made as it was before."""
    name = "kube-apiserver"
    record = processes.running(_records(settings), name)
    if record is None:
        raise ClusterError(f"{name} does not run")
    argv = tuple(word for word in processes.arguments(record) if word)
    processes.stop(_records(settings), {name: 0.0})
    try:
        yield
    finally:
        entries = cgroups.entry_files(settings.cgroup, cgroups.hierarchies())
        processes.start(_records(settings), settings.state / "logs", Program(name, argv), entries, record.identity)
        _await(settings, name, partial(api.is_ready, settings))


def is_durable(settings: Settings) -> bool:
    """Whether an etcd runs that syncs to disk."""
    record = processes.running(_records(settings), "etcd")
    return record is not None and components.UNSYNCED not in processes.arguments(record)


def _records(settings: Settings) -> Path:
    return settings.state / "run"


def _graces(settings: Settings) -> tuple[tuple[str, float], ...]:
    """Every program's name, and the seconds it gets to end by itself."""
    kubelets = tuple((f"kubelet-{node.name}", 2.0) for node in settings.nodes)
    runtimes = tuple((f"containerd-{node.name}", 5.0) for node in settings.nodes)
    others = (("kube-controller-manager", 1.0), ("kube-scheduler", 1.0), ("kube-proxy", 1.0))
    return (*kubelets, *others, ("kube-apiserver", 0.5), ("etcd", 5.0), *runtimes)


def _prepare_cgroups(settings: Settings, roots: tuple[Path, ...]) -> None:
    cgroups.prepare(settings.cgroup, roots, [node.name for node in settings.nodes[1:]])


def _link_programs(settings: Settings, artefacts: Artefacts) -> None:
    links = {"kubectl": artefacts.programs[binaries.CONTROLPLANE], "helm": artefacts.programs[binaries.HELM]}
    settings.bin.mkdir(parents=True, exist_ok=True)
    for name, target in links.items():
        link = settings.bin / name
        if not link.is_symlink() or link.readlink() != target:
            link.unlink(missing_ok=True)
            link.symlink_to(target)


def _kept_durable(settings: Settings) -> Settings:
    """A store that syncs to disk goes on doing so: who asked for it may be timing something right now."""
    return replace(settings, durable=settings.durable or is_durable(settings))


def _prepare(settings: Settings, artefacts: Artefacts) -> Plan:
    """Everything that programs need before they start: a clean slate after a crash, certificates, files, network."""
    roots = cgroups.hierarchies()
    if _has_crashed(settings):
        _stop(settings, [name for name, _ in _graces(settings)])
        cgroups.kill(settings.cgroup, roots)
        _remove_remains(settings)
    processes.end_strays(_records(settings), cgroups.processes(settings.cgroup, roots, cgroups.SYSTEM))
    folder = settings.state / "pki"
    pki.ensure(folder, pki.identities(settings))
    for file in components.kubeconfigs(settings):
        write(file.path, file.content, file.mode)
    plan = _plan(settings, artefacts)
    held = _records(settings)
    absent = [program for program in plan.all if not processes.running(held, program.name)]
    host.require_free_ports({port: program.name for program in absent for port in program.ports})
    _prepare_cgroups(settings, roots)
    network.ensure(settings)
    return plan


def _plan(settings: Settings, artefacts: Artefacts) -> Plan:
    binary = artefacts.programs[binaries.CONTROLPLANE]
    folder = settings.state / "pki"
    pause = artefacts.references[images.PAUSE]
    runtimes, kubelets = [], []
    for node in settings.nodes:
        files = components.node_files(settings, node, pause, host.has_capability(components.CAP_SYS_RESOURCE))
        for file in files:
            write(file.path, file.content, file.mode)
        runtimes.append(components.containerd(node, files))
        kubelets.append(components.kubelet(settings, node, binary, files))
    certificates = digest(pki.certificate(folder, name).read_bytes() for name in ("ca", pki.APISERVER))
    controllers = (components.controller_manager(settings, binary), components.scheduler(settings, binary))
    return Plan(
        components.etcd(settings, binary),
        tuple(runtimes),
        components.apiserver(settings, binary, certificates),
        (*controllers, components.proxy(settings, binary), *kubelets),
    )


def _has_crashed(settings: Settings) -> bool:
    """Whether containers have lost all who look after them, or their network: then nothing of them can be kept."""
    runs = [processes.running(_records(settings), name) for name, _ in _graces(settings)]
    if not any(runs):
        return True
    looked_after = any(
        processes.running(_records(settings), f"{program}-{node.name}")
        for program in ("containerd", "kubelet")
        for node in settings.nodes
    )
    bridges = network.bridges(settings)
    running = [node for node in settings.nodes if processes.running(_records(settings), f"containerd-{node.name}")]
    return not looked_after or any(node.bridge not in bridges for node in running)


def _start(settings: Settings, program: Program) -> bool:
    """Start a program, or restart it if it runs with other arguments. True if it was started."""
    record = processes.running(_records(settings), program.name)
    if record and record.identity == program.identity:
        return False
    processes.stop(_records(settings), {program.name: program.grace_seconds})
    entries = cgroups.entry_files(settings.cgroup, cgroups.hierarchies())
    processes.start(_records(settings), settings.state / "logs", program, entries)
    return True


def _stop(settings: Settings, names: Iterable[str]) -> None:
    graces = dict(_graces(settings))
    processes.stop(_records(settings), {name: graces[name] for name in names})


def _start_control_plane(settings: Settings, plan: Plan) -> None:
    for program in (plan.store, *plan.runtimes, plan.server):
        _start(settings, program)
    for node in settings.nodes:
        _await(settings, f"containerd-{node.name}", partial(containers.answers, node))
    _await(settings, plan.server.name, partial(api.is_ready, settings))


def _start_nodes(settings: Settings, plan: Plan) -> None:
    began = datetime.now(UTC)
    started = {program.name for program in plan.rest if _start(settings, program)}
    for node in settings.nodes:
        since = began if f"kubelet-{node.name}" in started else None
        _await(settings, f"kubelet-{node.name}", partial(api.node_is_ready, settings, node.name, since))


def _start_dns(settings: Settings, artefacts: Artefacts) -> None:
    manifest = Template(_COREDNS.read_text()).substitute(
        image=artefacts.references[images.COREDNS], address=settings.dns_address, domain=CLUSTER_NAME
    )
    kubectl = [str(settings.bin / "kubectl"), "--kubeconfig", str(settings.kubeconfig)]
    run([*kubectl, "apply", "--server-side", "--force-conflicts", "-f", "-"], stdin=manifest, timeout_seconds=60.0)
    name = f"kubernetes.default.svc.{CLUSTER_NAME}"
    _await(settings, "kube-proxy", partial(api.resolves, settings.dns_address, name))


def _await(settings: Settings, name: str, is_ready: Callable[[], bool]) -> None:
    """Wait for a program to be ready; ClusterError with its last lines if it ends or takes too long."""
    deadline = time.monotonic() + READY_SECONDS
    logs = settings.state / "logs"
    while not is_ready():
        if not processes.running(_records(settings), name):
            raise ClusterError(f"{name} ended; the last of {logs / name}.log: {processes.log_tail(logs, name)}")
        if time.monotonic() > deadline:
            tail = processes.log_tail(logs, name)
            raise ClusterError(
                f"{name} is not ready after {READY_SECONDS:.0f} s; the last of {logs / name}.log: {tail}"
            )
        time.sleep(0.1)


def _load_images(settings: Settings, wanted: Iterable[images.Image], progress: Progress) -> None:
    for node in settings.nodes:
        present = containers.images(node)
        missing = [image for image in wanted if image.reference not in present]
        if missing:
            with progress.step(f"Loading images {', '.join(image.role for image in missing)}"):
                _import(settings, node, [image.archive(settings) for image in missing])


def _import(settings: Settings, node: Node, archives: list[Path]) -> None:
    with ThreadPoolExecutor(max_workers=2) as pool:
        for done in [pool.submit(containers.import_image, node, archive) for archive in archives]:
            done.result()


def _is_anything_left(settings: Settings, roots: tuple[Path, ...]) -> bool:
    groups = any((root / settings.cgroup).exists() for root in roots)
    remains = _records(settings).exists() or bool(mounts.below(settings.state))
    return groups or remains or bool(network.bridges(settings))


def _stop_all_but_runtimes(settings: Settings) -> None:
    """The kubelets first, for they would start containers again."""
    _stop(settings, [f"kubelet-{node.name}" for node in settings.nodes])
    _stop(settings, [name for name, _ in _graces(settings) if not name.startswith("containerd-")])


def _remove_containers(settings: Settings, roots: tuple[Path, ...], progress: Progress) -> None:
    """containerd forgets its containers itself, for it keeps images and layers for the next time."""
    for node in settings.nodes:
        configuration = node.folder / "containerd.toml"
        if not (node.folder / "containerd" / "root").exists() or not configuration.exists():
            continue
        try:
            if not processes.running(_records(settings), f"containerd-{node.name}"):
                _prepare_cgroups(settings, roots)
                file = components.File(configuration, configuration.read_text())
                _start(settings, components.containerd(node, (file,)))
            _await(settings, f"containerd-{node.name}", partial(containers.answers, node))
            containers.remove_all(node)
        except ClusterError as error:
            progress.say(f"containerd could not remove its containers, so its images go too: {error}")
            _stop(settings, [f"containerd-{node.name}"])
            cgroups.kill(settings.cgroup, roots)
            mounts.undo_below(node.folder)
            remove(node.folder / "containerd" / "root")


def _remove_traces(settings: Settings, roots: tuple[Path, ...]) -> None:
    cgroups.kill(settings.cgroup, roots)
    _remove_remains(settings)
    network.remove(settings)
    cgroups.remove(settings.cgroup, roots)
    remove(settings.state / "etcd")
    for node in settings.nodes:
        for name in ("kubelet", "podlogs", "containerd/root/io.containerd.grpc.v1.cri"):
            remove(node.folder / name)
    for node in settings.nodes[1:]:
        remove(node.folder)
    remove(_records(settings))


def _remove_remains(settings: Settings) -> None:
    """What ended containers leave behind, as a reboot would remove it."""
    for node in settings.nodes:
        containers.remove_shim_sockets(node)
    mounts.undo_below(settings.state)
    network.remove_pod_devices(settings)
    for node in settings.nodes:
        for name in ("containerd/state", "ipam"):
            remove(node.folder / name)
