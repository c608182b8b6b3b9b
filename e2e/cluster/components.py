"""The programs of a cluster and their configuration files, as data: no program is started and no file written here."""

import json
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster import pki
from e2e.cluster.processes import Program
from e2e.cluster.settings import Node, Settings

ETCD_CLIENT_PORT, ETCD_PEER_PORT = 2379, 2380
CONTROLLER_MANAGER_PORT, SCHEDULER_PORT = 10257, 10259
PROXY_HEALTH_PORT, PROXY_METRICS_PORT = 10256, 10249
CAP_SYS_RESOURCE = 24
UNSYNCED = "--unsafe-no-fsync"


@dataclass(frozen=True, slots=True)
class File:
    """A file to write."""

    path: Path
    content: str
    mode: int = 0o644


def etcd(settings: Settings, binary: Path) -> Program:
    """The store. It syncs to disk as a real one does only when the cluster is durable."""
    url = f"http://127.0.0.1:{ETCD_CLIENT_PORT}"
    argv = (
        *(str(binary), "etcd", "--name=etcd", f"--data-dir={settings.state / 'etcd'}"),
        *(f"--listen-client-urls={url}", f"--advertise-client-urls={url}", "--log-level=warn"),
        f"--listen-peer-urls=http://127.0.0.1:{ETCD_PEER_PORT}",
        *(() if settings.durable else (UNSYNCED,)),
    )
    return Program("etcd", argv, (ETCD_CLIENT_PORT, ETCD_PEER_PORT), grace_seconds=5.0)


def apiserver(settings: Settings, binary: Path, pki_made: str) -> Program:
    """The API server. `pki_made` changes when certificates did, for they are read at start."""
    folder = settings.state / "pki"
    accounts = folder / pki.SERVICE_ACCOUNTS
    argv = (
        *(str(binary), "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{ETCD_CLIENT_PORT}"),
        *(f"--service-cluster-ip-range={settings.service_network}", f"--secure-port={settings.api_port}"),
        *(
            f"--bind-address={settings.nodes[0].address}",
            f"--advertise-address={settings.nodes[0].address}",
            "--allow-privileged=true",
        ),
        f"--tls-cert-file={pki.certificate(folder, pki.APISERVER)}",
        f"--tls-private-key-file={pki.key(folder, pki.APISERVER)}",
        f"--client-ca-file={pki.certificate(folder, 'ca')}",
        *("--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"),
        *(
            f"--service-account-key-file={accounts / 'tls.pub'}",
            f"--service-account-signing-key-file={accounts / 'tls.key'}",
        ),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--kubelet-preferred-address-types=InternalIP",  # nobody here resolves a node's name
        f"--kubelet-certificate-authority={pki.certificate(folder, 'ca')}",
        f"--kubelet-client-certificate={pki.certificate(folder, pki.APISERVER_CLIENT)}",
        f"--kubelet-client-key={pki.key(folder, pki.APISERVER_CLIENT)}",
    )
    # It would take a minute to stop on SIGTERM; its state is etcd's.
    return Program("kube-apiserver", argv, (settings.api_port,), grace_seconds=0.5, config=pki_made)


def controller_manager(settings: Settings, binary: Path) -> Program:
    """Deployments, ReplicaSets, garbage collection and the rest, each controller with its own service account."""
    folder = settings.state / "pki"
    argv = (
        *(
            str(binary),
            "kube-controller-manager",
            f"--kubeconfig={_kubeconfig_path(settings, 'kube-controller-manager')}",
        ),
        f"--service-account-private-key-file={folder / pki.SERVICE_ACCOUNTS / 'tls.key'}",
        *(f"--root-ca-file={pki.certificate(folder, 'ca')}", "--use-service-account-credentials=true"),
        *("--leader-elect=false", "--bind-address=127.0.0.1"),
        # With the defaults of 20 and 30 its start alone takes 4 s, waiting for its own limit.
        *("--kube-api-qps=200", "--kube-api-burst=400"),
        # Half of what is usual, as the kubelets report twice as often: tests wait for a node to be given up.
        "--node-monitor-grace-period=25s",
    )
    return Program("kube-controller-manager", argv, (CONTROLLER_MANAGER_PORT,))


def scheduler(settings: Settings, binary: Path) -> Program:
    """The scheduler."""
    kubeconfig = _kubeconfig_path(settings, "kube-scheduler")
    flags = (f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--bind-address=127.0.0.1")
    return Program("kube-scheduler", (str(binary), "kube-scheduler", *flags), (SCHEDULER_PORT,))


def proxy(settings: Settings, binary: Path) -> Program:
    """Services, by nftables. One serves every node, as they share the machine's network."""
    head = settings.nodes[0]
    argv = (
        *(str(binary), "kube-proxy", f"--kubeconfig={_kubeconfig_path(settings, 'kube-proxy')}"),
        *(f"--hostname-override={head.name}", "--proxy-mode=nftables", f"--cluster-cidr={settings.pod_network}"),
        *(f"--bind-address={head.address}", "--nodeport-addresses=primary"),
        # Left as the machine has them.
        *(
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0s",
            "--conntrack-tcp-timeout-close-wait=0s",
        ),
    )
    return Program("kube-proxy", argv, (PROXY_HEALTH_PORT, PROXY_METRICS_PORT))


def containerd(node: Node, files: tuple[File, ...]) -> Program:
    """The container runtime of a node."""
    argv = ("containerd", "--config", str(node.folder / "containerd.toml"))
    return Program(f"containerd-{node.name}", argv, grace_seconds=5.0, config=_content(files, "containerd.toml"))


def kubelet(settings: Settings, node: Node, binary: Path, files: tuple[File, ...]) -> Program:
    """The kubelet of a node."""
    argv = (
        *(str(binary), "kubelet", f"--kubeconfig={_kubeconfig_path(settings, f'kubelet-{node.name}')}"),
        *(f"--config={node.folder / 'kubelet.yaml'}", f"--hostname-override={node.name}"),
        *(f"--node-ip={node.address}", f"--root-dir={node.folder / 'kubelet'}"),
    )
    ports = (node.kubelet_port, node.kubelet_health_port)
    return Program(f"kubelet-{node.name}", argv, ports, config=_content(files, "kubelet.yaml"))


def node_files(settings: Settings, node: Node, pause_image: str, may_lower_oom_score: bool) -> tuple[File, ...]:
    """The configuration files of a node's programs."""
    return (
        File(node.folder / "containerd.toml", _containerd_config(node, pause_image, may_lower_oom_score)),
        File(node.folder / "cni" / "10-pods.conflist", json.dumps(_cni_config(node), indent=1)),
        File(node.folder / "kubelet.yaml", yaml.safe_dump(_kubelet_config(settings, node))),
    )


def kubeconfigs(settings: Settings) -> tuple[File, ...]:
    """One kubeconfig for each identity that talks to the API server, certificates inside."""
    clients = ("kube-controller-manager", "kube-scheduler", "kube-proxy")
    kubelets = tuple(f"kubelet-{node.name}" for node in settings.nodes)
    inner = tuple(
        File(_kubeconfig_path(settings, user), _kubeconfig(settings, user), 0o600) for user in (*clients, *kubelets)
    )
    return (File(settings.kubeconfig, _kubeconfig(settings, pki.ADMIN), 0o600), *inner)


def _kubeconfig_path(settings: Settings, user: str) -> Path:
    return settings.state / "kubeconfigs" / user


def _kubeconfig(settings: Settings, user: str) -> str:
    folder = settings.state / "pki"
    server = f"https://{settings.nodes[0].address}:{settings.api_port}"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "larder",
                "cluster": {"server": server, "certificate-authority-data": _inlined(pki.certificate(folder, "ca"))},
            }
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": _inlined(pki.certificate(folder, user)),
                    "client-key-data": _inlined(pki.key(folder, user)),
                },
            }
        ],
        "contexts": [{"name": "larder", "context": {"cluster": "larder", "user": user}}],
        "current-context": "larder",
    }
    return yaml.safe_dump(document, sort_keys=False)


def _inlined(path: Path) -> str:
    return b64encode(path.read_bytes()).decode()


def _content(files: tuple[File, ...], name: str) -> str:
    return next(file.content for file in files if file.path.name == name)


def _containerd_config(node: Node, pause_image: str, may_lower_oom_score: bool) -> str:
    """Namespaces of pods are mounted below the node's folder, so that `down` finds what it must unmount."""
    return f"""\
version = 2
root = "{node.folder}/containerd/root"
state = "{node.folder}/containerd/state"
[grpc]
  address = "{node.containerd_socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause_image}"
  stream_server_address = "127.0.0.1"
  netns_mounts_under_state_dir = true
  # Without CAP_SYS_RESOURCE runc cannot lower it: "can't get final child's PID from pipe".
  restrict_oom_score_adj = {"false" if may_lower_oom_score else "true"}
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{node.folder}/cni"
"""


def _cni_config(node: Node) -> dict[str, Any]:
    return {
        "cniVersion": "0.4.0",
        "name": f"pods-{node.name}",
        "plugins": [
            {
                "type": "bridge",
                "bridge": node.bridge,
                "isGateway": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": str(node.pod_network), "gateway": str(node.address)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": str(node.folder / "ipam"),
                },
            }
        ],
    }


def _kubelet_config(settings: Settings, node: Node) -> dict[str, Any]:
    folder = settings.state / "pki"
    user = f"kubelet-{node.name}"
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki.certificate(folder, "ca"))},
        },
        "authorization": {"mode": "Webhook"},
        # Images come by import; one that was also pulled once must not be asked of a registry again.
        "imagePullCredentialsVerificationPolicy": "NeverVerify",
        "address": str(node.address),
        "port": node.kubelet_port,
        "healthzPort": node.kubelet_health_port,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{settings.cgroup_of(node)}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "containerRuntimeEndpoint": f"unix://{node.containerd_socket}",
        "tlsCertFile": str(pki.certificate(folder, user)),
        "tlsPrivateKeyFile": str(pki.key(folder, user)),
        "nodeLeaseDurationSeconds": 20,
        "clusterDNS": [str(settings.dns_address)],
        "clusterDomain": "cluster.local",
        "evictionHard": {"memory.available": "100Mi"},
        # Images cannot be pulled again, so none is collected.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "localStorageCapacityIsolation": False,
        "makeIPTablesUtilChains": False,  # kube-proxy uses nftables, and `down` removes only its tables
        "podLogsDir": str(node.folder / "podlogs"),
    }
