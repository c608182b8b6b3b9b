"""The planner's working accounts of one snapshot: bytes, load slots and changes under way, kept up to date
while a plan is being made. Nothing outside one call of the planner keeps one.
"""

from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

from larder.core.snapshot import Model, Placement, PlacementState, Pod, PodState, Snapshot

_BY_MODEL_AND_POD = attrgetter("model", "pod")
_READY = PlacementState.READY
LEAVING = (PlacementState.DRAINING, PlacementState.UNLOADING)


class Kept(NamedTuple):
    """A placement that may leave from `from_seconds` on: its model's priority, value per second and per byte, and
    whether min copies need it.
    """

    priority: int
    value: float
    density: float
    placement: Placement
    needed: bool
    from_seconds: float


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
    shelf: list["Kept"] | None = None
    """What may be evicted here, cheapest first; made on demand, forgotten when something leaves."""

    @property
    def soon_bytes(self) -> int:
        """Free bytes once everything that leaves has left."""
        return self.free_bytes + self.leaving_bytes

    @property
    def is_overfull(self) -> bool:
        """Whether what is on the pod now exceeds its capacity, as measured or else as counted; what is only reserved
        takes no memory yet.
        """
        if self.pod.used_bytes is not None:
            return self.pod.used_bytes > self.pod.capacity_bytes
        return self.free_bytes + self.reserved_bytes < 0

    @property
    def room_bytes(self) -> int:
        """What is left of the capacity once everything that leaves has left, as measured or else as counted."""
        if self.pod.used_bytes is not None:
            return self.pod.capacity_bytes - self.pod.used_bytes + self.leaving_bytes
        return self.soon_bytes


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
        return model.name not in pod.models and self.has_slot(pod, self.loads_alone(model))

    def has_slot(self, pod: PodBooks, alone: bool = False, spare: int = 0) -> bool:
        """Whether a load slot is free on a serving pod, `spare` more besides; `alone`: whether all of them are."""
        if pod.pod.state is not PodState.SERVING or pod.loading_alone:
            return False
        return pod.loading == 0 if alone else pod.loading + spare < self.snapshot.settings.loads_at_once

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
        pod.shelf = None
        pod.leaving_bytes += placement.memory_bytes
        self.copies[placement.model].remove(placement)

    def reserve(self, pod: PodBooks, size_bytes: int) -> None:
        """Keep bytes that will be free, and a load slot, for a model that will be loaded then."""
        pod.free_bytes -= size_bytes
        pod.reserved_bytes += size_bytes
        pod.loading += 1

    def release(self, pod: PodBooks, size_bytes: int) -> None:
        """Keep them no more."""
        pod.free_bytes += size_bytes
        pod.reserved_bytes -= size_bytes
        pod.loading -= 1

    def change(self, before: Placement | None, after: Placement | None) -> None:
        """Take in that one placement appeared, moved on or vanished."""
        placement = after or before
        if placement is None or placement.pod not in self.pods:
            return
        pod, copies = self.pods[placement.pod], self.copies.setdefault(placement.model, [])
        model = self.snapshot.models.get(placement.model)
        alone = model is not None and model.memory_bytes is None
        if before is not None:
            _leave(pod, before, alone)
            copies[:] = [c for c in copies if c.pod != before.pod]
        if after is not None:
            _enter(pod, after, alone)
            copies.append(after)
        pod.shelf = None


def _leave(pod: PodBooks, placement: Placement, alone: bool) -> None:
    pod.free_bytes += placement.memory_bytes
    pod.models.discard(placement.model)
    if placement.state is PlacementState.LOADING:
        pod.loading -= 1
        pod.loading_alone = pod.loading_alone and not alone
    elif placement.state is _READY:
        pod.ready.pop(placement.model, None)
    else:
        pod.leaving_bytes -= placement.memory_bytes


def _enter(pod: PodBooks, placement: Placement, alone: bool) -> None:
    pod.free_bytes -= placement.memory_bytes
    pod.models.add(placement.model)
    if placement.state is PlacementState.LOADING:
        pod.loading += 1
        pod.loading_alone = pod.loading_alone or alone
    elif placement.state is _READY:
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
    models = snapshot.models
    for placement in sorted(snapshot.placements, key=_BY_MODEL_AND_POD):
        pod, name = pods.get(placement.pod), placement.model
        if pod is None:
            continue
        copies.setdefault(name, []).append(placement)
        if placement.state is _READY:
            pod.free_bytes -= placement.memory_bytes
            pod.models.add(name)
            pod.ready[name] = placement
        else:
            _enter(pod, placement, name in models and models[name].memory_bytes is None)
    return Books(snapshot, pods, copies)
