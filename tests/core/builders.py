"""Short ways to write snapshots."""

from collections.abc import Iterable
from dataclasses import replace

from larder.core.forecast import Forecaster
from larder.core.outlook import appraise, make_catalog
from larder.core.snapshot import (
    Measured,
    Model,
    Placement,
    PlacementState,
    Pod,
    PodState,
    Rate,
    Settings,
    Snapshot,
    Waiting,
)

NOW = 1000.0
MB = 2**20


def model(name: str, megabytes: int | None = 10, **changes: object) -> Model:
    size = None if megabytes is None else megabytes * MB
    return Model(name, size, **changes)  # type: ignore[arg-type]


def pod(name: str, megabytes: int = 20, state: PodState = PodState.SERVING, **changes: int) -> Pod:
    return Pod(name, state, megabytes * MB, **changes)


def placed(
    name: str,
    on: str,
    megabytes: int = 10,
    state: PlacementState = PlacementState.READY,
    *,
    since: float = 0.0,
    used: float | None = None,
    revision: str = "",
) -> Placement:
    return Placement(name, on, state, megabytes * MB, since, revision, used)


def waiting(name: str, count: int = 1, since: float = NOW, deadline: float = NOW + 30) -> Waiting:
    return Waiting(name, count, since, deadline)


def seconds(mean: float) -> Measured:
    return Measured(mean, 0.0, 1, NOW)


def snapshot(
    models: Iterable[Model],
    pods: Iterable[Pod],
    placements: Iterable[Placement] = (),
    held: Iterable[Waiting] = (),
    *,
    rates: dict[str, float] | None = None,
    asked_pods: int | None = None,
    **settings: float,
) -> Snapshot:
    return Snapshot(
        Settings(**({"default_model_bytes": 10 * MB} | settings)),  # type: ignore[arg-type]
        {m.name: m for m in models},
        {p.name: p for p in pods},
        tuple(placements),
        {w.model: w for w in held},
        {name: Rate(per_second, NOW) for name, per_second in (rates or {}).items()},
        asked_pods,
    )


def appraised(seen: Snapshot, forecaster: Forecaster, now: float) -> Snapshot:
    """The same with what the forecast says of its models, which are numbered as their names are sorted."""
    catalog = make_catalog(seen.models, MB, 1.0)
    return replace(
        seen,
        appraisal=appraise(catalog, forecaster.outlook(now, catalog.load_seconds)),
        traffic=forecaster.traffic(),
    )
