"""The planner's working accounts of one snapshot: bytes, load slots and changes under way, kept up to date
while a plan is being made. Nothing outside one call of the planner keeps one.
"""

from dataclasses import dataclass, field

from larder.core.snapshot import Model, Placement, PlacementState, Pod, PodState, Snapshot

LEAVING = (PlacementState.DRAINING, PlacementState.UNLOADING)


@dataclass(slots=True)
class PodBooks:
    """One pod. `free_bytes` may be negative; `leaving_bytes` are counted but on their way out, `reserved_bytes` are
    kept for models that will be loaded when memory is free.
    """

    pod: Pod
    free_bytes: int
    leaving_bytes: int = 0
    reserved_bytes: int = 0
    loading: int = 0
    loading_alone: bool = False
    ready: dict[str, Placement] = field(default_factory=dict)
    models: set[str] = field(default_factory=set)

    @property
    def soon_bytes(self) -> int:
        """Free bytes once everything that leaves has left."""
        return self.free_bytes + self.leaving_bytes

    @property
    def is_overfull(self) -> bool:
        """Whether what is on the pod now exceeds its capacity; what is only reserved takes no memory yet."""
        return self.free_bytes + self.reserved_bytes < 0


@dataclass(slots=True)
class Books:
    """All pods of one snapshot, and where each model is."""

    snapshot: Snapshot
    pods: dict[str, PodBooks]
    copies: dict[str, list[Placement]]

    def size_bytes(self, model: Model) -> int:
        """The bytes to plan this model with."""
        return self.snapshot.settings.default_model_bytes if model.memory_bytes is None else model.memory_bytes

    def loads_alone(self, model: Model) -> bool:
        """Whether nobody knows this model's size yet: its load must be the only one on its pod."""
        return model.memory_bytes is None

    def may_start_load(self, pod: PodBooks, model: Model) -> bool:
        """Whether the pod takes a load of this model now, memory aside."""
        if pod.pod.state is not PodState.SERVING or model.name in pod.models or pod.loading_alone:
            return False
        if self.loads_alone(model):
            return pod.loading == 0
        return pod.loading < self.snapshot.settings.loads_at_once

    def serving_copies(self, name: str) -> list[Placement]:
        """Copies that serve or soon will, on pods that stay."""
        return [
            p
            for p in self.copies.get(name, ())
            if p.state not in LEAVING and self.pods[p.pod].pod.state in (PodState.SERVING, PodState.STARTING)
        ]

    def answering_copies(self, name: str) -> list[Placement]:
        """Copies that gateways route to, or will once loaded: a terminating pod gets no requests any more."""
        return [p for p in self.all_copies(name) if self.pods[p.pod].pod.state is not PodState.TERMINATING]

    def all_copies(self, name: str) -> list[Placement]:
        """Copies that are not leaving, on whatever pod."""
        return [p for p in self.copies.get(name, ()) if p.state not in LEAVING]

    def start_load(self, model: Model, pod: PodBooks, now_seconds: float) -> Placement:
        """Count a load as begun."""
        loading = Placement(
            model.name, pod.pod.name, PlacementState.LOADING, self.size_bytes(model), now_seconds, model.revision
        )
        self.copies.setdefault(model.name, []).append(loading)
        _enter(pod, loading, self.loads_alone(model))
        return loading

    def start_drain(self, placement: Placement) -> None:
        """Count a ready placement as leaving."""
        pod = self.pods[placement.pod]
        del pod.ready[placement.model]
        pod.leaving_bytes += placement.memory_bytes
        self.copies[placement.model].remove(placement)

    def reserve(self, pod: PodBooks, size_bytes: int) -> None:
        """Keep bytes that will be free for a model that will be loaded then."""
        pod.free_bytes -= size_bytes
        pod.reserved_bytes += size_bytes


def _enter(pod: PodBooks, placement: Placement, alone: bool) -> None:
    pod.free_bytes -= placement.memory_bytes
    pod.models.add(placement.model)
    if placement.state is PlacementState.LOADING:
        pod.loading += 1
        pod.loading_alone = pod.loading_alone or alone
    elif placement.state is PlacementState.READY:
        pod.ready[placement.model] = placement
    else:
        pod.leaving_bytes += placement.memory_bytes


def open_books(snapshot: Snapshot) -> Books:
    """Count a snapshot. Placements on pods that are not in it are ignored: their memory went with the pod."""
    pods = {
        name: PodBooks(pod, pod.capacity_bytes - pod.quarantined_bytes - pod.unmanaged_bytes)
        for name, pod in sorted(snapshot.pods.items())
    }
    copies: dict[str, list[Placement]] = {}
    for placement in sorted(snapshot.placements, key=lambda p: (p.model, p.pod)):
        pod = pods.get(placement.pod)
        if pod is None:
            continue
        model = snapshot.models.get(placement.model)
        copies.setdefault(placement.model, []).append(placement)
        _enter(pod, placement, model is not None and model.memory_bytes is None)
    return Books(snapshot, pods, copies)
