"""What a pool learns from its own loads, in the operator and in the simulator alike: see `trust` and `slots`."""

from collections.abc import Iterable, Mapping

import numpy as np

from larder.core.appraisal import Appraisal, Floats
from larder.core.plan import Action, Drain, Load, Reason
from larder.core.slots import ColdLoads
from larder.core.trust import FetchRecord
from larder.core.worth import ASSUMED_LOAD_SECONDS


class Experience:
    """Told which actions of plans began; `record` is told what was asked for and what left.

    `unload_seconds`: what left for a model longer ago than this did not leave for a load that begins now.
    """

    def __init__(self, unload_seconds: float = 0.0) -> None:
        self.record = FetchRecord()
        self._unload_seconds = unload_seconds
        self._cold_loads = ColdLoads()
        self._left_for: dict[str, dict[str, tuple[float, float]]] = {}

    def fetch_shares(self, now_seconds: float, slots: int, load_seconds: Floats, miss_costs: Floats) -> Floats:
        """What one of so many load slots costs a model's fetch, as a share of its miss; 0 where it costs nothing."""
        price = self._cold_loads.price(now_seconds, slots)
        return np.divide(price * load_seconds, miss_costs, out=np.zeros(len(miss_costs)), where=miss_costs > 0.0)

    def began(
        self, now_seconds: float, actions: Iterable[Action], waiting: Mapping[str, int], priced: Appraisal
    ) -> None:
        """These actions began; `waiting` are the requests that wait for each model, `priced` what they were made by."""
        for action in actions:
            if isinstance(action, Load):
                self._loads(now_seconds, action, waiting.get(action.model, 0), priced)
            elif isinstance(action, Drain) and action.reason is Reason.FORECAST and action.for_model is not None:
                left = self._left_for.setdefault(action.for_model, {})
                left[action.model] = (priced.urgency(action.model), now_seconds)

    def _loads(self, now_seconds: float, action: Load, waiting: int, priced: Appraisal) -> None:
        at = priced.catalog.index.get(action.model)
        seconds = ASSUMED_LOAD_SECONDS if at is None else float(priced.catalog.load_seconds[at])
        ahead = action.reason is Reason.FORECAST
        self._cold_loads.began(now_seconds, seconds, 0 if ahead else waiting)
        left = self._left_for.pop(action.model, {})
        if ahead:
            victims = {
                name: urgency for name, (urgency, at) in left.items() if now_seconds - at <= self._unload_seconds
            }
            self.record.fetched(action.model, priced.promised(action.model), now_seconds, seconds, victims)
