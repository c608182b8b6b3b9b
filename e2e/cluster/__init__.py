"""A real Kubernetes for the demo and the end-to-end tests: one made on this machine, or the one KUBECONFIG names."""

from e2e.cluster.cluster import Cluster, use
from e2e.cluster.errors import ClusterError, CommandFailedError

__all__ = ["Cluster", "ClusterError", "CommandFailedError", "use"]
