"""Which Models of a pool serve under which name: of two with the same name in the repository, the older one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from larder.api.parsing import parse_model
from larder.api.resources import Manifest, Model
from larder.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A Model whose spec can't be read, and why."""

    namespace: str
    name: str
    uid: str
    generation: int
    message: str
    status: Manifest


@dataclass(frozen=True, slots=True)
class Declared:
    """`serving` by served name; `conflicts` by the uid of the Model that yields, with the one it yields to."""

    serving: Mapping[str, Model]
    conflicts: Mapping[str, tuple[Model, Model]]


def read_model(manifest: Manifest) -> Model | Unreadable:
    """Parse a Model; one that can't be read is kept so that its status can say so."""
    try:
        return parse_model(manifest)
    except InvalidInputError as error:
        meta = manifest["metadata"]
        status = manifest.get("status") or {}
        return Unreadable(meta["namespace"], meta["name"], meta["uid"], meta.get("generation", 0), str(error), status)


def resolve(models: Iterable[Model]) -> Declared:
    """Sort the Models of one pool by served name. A Model being deleted serves no more."""
    serving: dict[str, Model] = {}
    conflicts: dict[str, tuple[Model, Model]] = {}
    for model in sorted(models, key=lambda m: (m.meta.created_seconds, m.meta.uid)):
        if model.meta.deleting:
            continue
        older = serving.setdefault(model.served_name, model)
        if older is not model:
            conflicts[model.meta.uid] = (model, older)
    return Declared(serving, conflicts)
