"""All pools, Models, pods and Deployments that the API server shows, sorted by pool."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from larder.adapters.kube.informer import Informer, Key, Scope, Source
from larder.adapters.kube.resources import DEPLOYMENTS, MODELS, PODS
from larder.api import names
from larder.api.residency import term_of
from larder.api.resources import Manifest, Model, ModelPool
from larder.runtime.declared import Declared, Unreadable, read_model, resolve
from larder.runtime.pods import PodView, parse_pod
from larder.runtime.pool_loop import Deployed

LABELS: Final = f"{names.COMPONENT_LABEL} in ({names.TRITON},{names.GATEWAY})"


@dataclass(frozen=True, slots=True)
class PoolDeployment:
    """One of a pool's two Deployments."""

    pool: str
    deployed: Deployed


@dataclass(slots=True)
class Shelf:
    """What belongs to one pool, by name. `edition` grows when its Models change in more than their status."""

    models: dict[str, Model] = field(default_factory=dict)
    pods: dict[str, PodView] = field(default_factory=dict)
    deployed: dict[str, Deployed] = field(default_factory=dict)
    edition: int = 0

    def put_model(self, name: str, model: Model) -> None:
        """Take over a Model."""
        before = self.models.get(name)
        self.edition += before is None or _specified(before) != _specified(model)
        self.models[name] = model

    def remove_model(self, name: str) -> None:
        """It is gone, or elsewhere."""
        self.edition += 1
        self.models.pop(name, None)


@dataclass(slots=True)
class Catalog:
    """Kept by informers. `changed` is called with a pool's key when something of it changed."""

    changed: Callable[[Key], None]
    shelves: dict[Key, Shelf] = field(default_factory=dict)
    odd: dict[Key, Unreadable] = field(default_factory=dict)
    _homes: dict[tuple[str, Key], Key] = field(default_factory=dict)

    def informers(
        self, source: Source, namespaces: Iterable[str | None], jitter: Callable[[], float]
    ) -> "list[Informer[Model | Unreadable] | Informer[PodView] | Informer[PoolDeployment]]":
        """The informers that keep this catalog: three a namespace (None: one set for all)."""
        found: list[Informer[Model | Unreadable] | Informer[PodView] | Informer[PoolDeployment]] = []
        for space in namespaces:
            found += (
                Informer(source, Scope(MODELS, space), read_model, self.put_model, jitter),
                Informer(source, Scope(PODS, space, LABELS), parse_pod, self.put_pod, jitter),
                Informer(source, Scope(DEPLOYMENTS, space, LABELS), _deployment, self.put_deployment, jitter),
            )
        return found

    def shelf(self, pool: Key) -> Shelf:
        """What belongs to a pool."""
        return self.shelves.setdefault(pool, Shelf())

    def newest_term(self) -> int:
        """The highest term of a leader that wrote on a pod; 0 where none did."""
        pods = (pod for shelf in self.shelves.values() for pod in shelf.pods.values())
        return max((term_of(pod.residency) for pod in pods), default=0)

    def put_model(self, key: Key, model: Model | Unreadable | None) -> None:
        """Take over a Model; None: it is gone."""
        self.odd.pop(key, None)
        if isinstance(model, Unreadable):
            self.odd[key] = model
        home = (key[0], model.pool) if isinstance(model, Model) else None
        self._move("model", key, home, lambda shelf: shelf.remove_model(key[1]))
        if isinstance(model, Model):
            self.shelf((key[0], model.pool)).put_model(key[1], model)
        self.changed(home or key)

    def put_pod(self, key: Key, pod: PodView | None) -> None:
        """Take over a pod."""
        home = (key[0], pod.pool) if pod is not None else None
        self._move("pod", key, home, lambda shelf: shelf.pods.pop(key[1], None))
        if pod is not None:
            self.shelf((key[0], pod.pool)).pods[key[1]] = pod
            self.changed((key[0], pod.pool))

    def put_deployment(self, key: Key, deployment: PoolDeployment | None) -> None:
        """Take over a Deployment."""
        home = (key[0], deployment.pool) if deployment is not None else None
        self._move("deployment", key, home, lambda shelf: shelf.deployed.pop(key[1], None))
        if deployment is not None:
            self.shelf((key[0], deployment.pool)).deployed[key[1]] = deployment.deployed
            self.changed((key[0], deployment.pool))

    def _move(self, kind: str, key: Key, home: Key | None, remove: Callable[[Shelf], object]) -> None:
        """Note where an object belongs now, and take it from where it was."""
        before = self._homes.get((kind, key))
        if before is not None and before != home:
            remove(self.shelf(before))
            self.changed(before)
        if home is None:
            self._homes.pop((kind, key), None)
        else:
            self._homes[(kind, key)] = home


@dataclass(slots=True)
class PoolWorld:
    """One pool in the catalog, as its loop sees it; when it is gone, as it was last seen until the loop ends."""

    catalog: Catalog
    pools: dict[Key, ModelPool]
    key: Key
    seen: ModelPool
    _declared: tuple[int, Declared] = (-1, Declared({}, {}))

    def pool(self) -> ModelPool:
        """The pool."""
        present = self.pools.get(self.key)
        if present is not None and present.meta.uid == self.seen.meta.uid:
            self.seen = present
        return self.seen

    def declared(self) -> Declared:
        """The Models that name it, the same value for as long as they are the same but for their status."""
        shelf = self.catalog.shelf(self.key)
        if self._declared[0] != shelf.edition:
            self._declared = (shelf.edition, resolve(shelf.models.values()))
        return self._declared[1]

    def pods(self) -> Iterable[PodView]:
        """Its pods."""
        return self.catalog.shelf(self.key).pods.values()

    def deployed(self) -> Deployed | None:
        """Its Triton Deployment."""
        return self.catalog.shelf(self.key).deployed.get(names.triton_name(self.key[1]))

    def deployments(self) -> frozenset[str]:
        """The names of its Deployments."""
        return frozenset(self.catalog.shelf(self.key).deployed)


def _specified(model: Model) -> tuple[str, int, bool]:
    """What differs when anything but the status changed: generation counts changes of the spec."""
    return model.meta.uid, model.meta.generation, model.meta.deleting


def _deployment(manifest: Manifest) -> PoolDeployment:
    conditions = (manifest.get("status") or {}).get("conditions") or ()
    failed = next((c for c in conditions if c["type"] == "ReplicaFailure" and c["status"] == "True"), None)
    failure = "" if failed is None else f"pods can't be made: {failed.get('message', '')}"
    pool = (manifest["metadata"].get("labels") or {}).get(names.POOL_LABEL, "")
    return PoolDeployment(pool, Deployed((manifest.get("spec") or {}).get("replicas", 1), failure, _ready(manifest)))


def _ready(manifest: Manifest) -> int | None:
    """How many pods its ReplicaSets say are ready; None where that is not yet of this spec."""
    status = manifest.get("status") or {}
    if status.get("observedGeneration", 0) < manifest["metadata"].get("generation", 0):
        return None
    return int(status.get("readyReplicas") or 0)
