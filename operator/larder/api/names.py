"""Names of the API: group, kinds, labels, annotations, ports, and the objects that a pool owns."""

from typing import Final

GROUP: Final = "larder.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
MODEL_PLURAL: Final = "models"
POOL_PLURAL: Final = "modelpools"
FIELD_MANAGER: Final = "larder"

POOL_LABEL: Final = "larder.dev/pool"
"""On every object of a pool: the pool's name."""
COMPONENT_LABEL: Final = "larder.dev/component"
"""On every pod of a pool: `triton` or `gateway`."""
TRITON: Final = "triton"
GATEWAY: Final = "gateway"
METER: Final = "meter"
"""The container beside Triton that says what memory is taken."""

RESIDENCY_ANNOTATION: Final = "larder.dev/residency"
"""On a Triton pod: what it may be sent requests for (see `larder.api.residency`)."""
RETIREMENT_ANNOTATION: Final = "larder.dev/retiring"
"""On a Triton pod that was chosen to go (see `larder.api.retirement`)."""
DELETION_COST_ANNOTATION: Final = "controller.kubernetes.io/pod-deletion-cost"
"""Kubernetes' own: of pods alike, the cheapest is deleted first."""
TEMPLATE_LABEL: Final = "pod-template-hash"
"""Kubernetes' own: which template of its Deployment a pod was made from."""
SERVING_GATE: Final = "larder.dev/serving"
"""Readiness gate of Triton pods, true once warm."""

HTTP_PORT: Final = 8000
GRPC_PORT: Final = 8001
METRICS_PORT: Final = 8002
"""Of Triton pods, and of the pool's Service (the first two)."""
GATEWAY_METRICS_PORT: Final = 9102
"""Of gateway pods: Prometheus metrics of activator and Envoy."""
DEMAND_PORT: Final = 9103
"""Of gateway pods: the demand stream (WebSocket, token-protected)."""
ACTIVATOR_PROBE_PORT: Final = 9104
"""Of gateway pods: /healthz and /readyz of the activator."""
METER_PORT: Final = 9105
"""Of Triton pods without a GPU: readings of memory (token-protected)."""

TRITON_ADMIN_HEADER: Final = "larder-admin"
"""Key of Triton's restricted APIs; over gRPC the header is `triton-grpc-protocol-larder-admin`."""
TRITON_ADMIN_KEY: Final = "admin-key"
DEMAND_TOKEN_KEY: Final = "demand-token"  # noqa: S105 (the name of a Secret's entry)
"""Entries of the pool's Secret."""


def triton_name(pool: str) -> str:
    """The pool's Triton Deployment, ServiceAccount and PodDisruptionBudget."""
    return f"{pool}-triton"


def gateway_name(pool: str) -> str:
    """The pool's gateway Deployment, ServiceAccount, Role, RoleBinding and PodDisruptionBudget."""
    return f"{pool}-gateway"


def keys_name(pool: str) -> str:
    """The pool's Secret with the admin key for Triton and the token of the demand stream."""
    return f"{pool}-keys"
