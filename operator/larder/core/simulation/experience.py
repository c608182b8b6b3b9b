"""What Larder's policy learns from its own loads in the simulated world: see `core.trust` and `core.slots`."""

from bisect import bisect_right

import numpy as np

from larder.core.appraisal import Appraisal, Floats
from larder.core.plan import Drain, Load, Reason
from larder.core.simulation.world import World
from larder.core.slots import ColdLoads
from larder.core.trust import FetchRecord


class Experience:
    """Watches the actions of plans, and what became of them. Names and numbers of models come from the policy."""

    def __init__(self, numbers: dict[str, int]) -> None:
        self._numbers = numbers
        self._record, self._cold_loads = FetchRecord(), ColdLoads()
        self._left_for: dict[str, dict[str, float]] = {}

    @property
    def trust(self) -> float:
        """What a promise of the forecast is worth."""
        return self._record.trust

    def fetch_shares(self, world: World, miss_costs: Floats) -> Floats:
        """What the load slot of a fetch costs, as a share of each model's miss, in the world's order."""
        price = self._cold_loads.price(world.now, len(world.pods) * world.hardware.loads_at_once)
        return np.asarray(price * np.array(world.load_seconds) / miss_costs)

    def judge(self, world: World) -> None:
        """Look what became of models fetched before."""
        self._left_for.clear()
        for name, since in self._record.open.items():
            model = self._numbers[name]
            used_seconds = _next_use(world, model, since)
            if used_seconds is None and (world.ready[model] or world.loading[model]):
                continue
            at_seconds = world.now if used_seconds is None else used_seconds
            asked = {v: _next_use(world, self._numbers[v], since) for v in self._record.victims(name)}
            before = {v: at for v, at in asked.items() if at is not None and at <= at_seconds}
            self._record.judge(name, at_seconds, used_seconds is not None, before)

    def loads(self, world: World, action: Load, appraisal: Appraisal) -> None:
        """A load begins."""
        model, ahead = self._numbers[action.model], action.reason is Reason.FORECAST
        seconds = world.load_seconds[model]
        self._cold_loads.began(world.now, seconds, 0 if ahead else world.waiting_count(model))
        if ahead:
            victims = self._left_for.pop(action.model, {})
            self._record.fetched(action.model, appraisal.promised(action.model), world.now, seconds, victims)

    def drains(self, action: Drain, appraisal: Appraisal) -> None:
        """A model leaves, perhaps for one that is to be fetched."""
        if action.reason is Reason.FORECAST and action.for_model is not None:
            left = self._left_for.setdefault(action.for_model, {})
            left[action.model] = appraisal.urgency(action.model)


def _next_use(world: World, model: int, since_seconds: float) -> float | None:
    """The first request after a time, if it came."""
    arrivals = world.arrivals[model]
    at = bisect_right(arrivals, since_seconds)
    return arrivals[at] if at < len(arrivals) and arrivals[at] <= world.now else None
