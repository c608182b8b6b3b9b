"""Which model a request asks for: Zipf over a ranking that is drawn anew every so many requests. Pure."""

import bisect
import itertools
from collections.abc import Sequence
from random import Random

from e2e.churn.plan import HOT_MODELS, RESHUFFLED_EVERY, ZIPF_EXPONENT


def ranking(models: Sequence[str], seed: int, request: int) -> tuple[str, ...]:
    """Return the models by popularity at the time of a request, by its number from 0."""
    order = list(models)
    Random(f"{seed} {request // RESHUFFLED_EVERY}").shuffle(order)
    return tuple(order)


def weights(count: int) -> tuple[float, ...]:
    """Return the cumulated weights of ranks 1 to `count`."""
    return tuple(itertools.accumulate(rank**-ZIPF_EXPONENT for rank in range(1, count + 1)))


class Popularity:
    """Draws models; two with the same seed draw the same."""

    def __init__(self, models: Sequence[str], seed: int) -> None:
        self._models = tuple(models)
        self._seed = seed
        self._random = Random(seed)
        self._ranked: tuple[int, tuple[str, ...]] = (-1, ())
        self._all, self._hot = weights(len(models)), weights(min(HOT_MODELS, len(models)))

    def draw(self, request: int, *, free: bool) -> str:
        """Return the model of a request; one that is not free is of the HOT_MODELS most popular."""
        epoch = request // RESHUFFLED_EVERY
        if self._ranked[0] != epoch:
            self._ranked = (epoch, ranking(self._models, self._seed, request))
        cumulated = self._all if free else self._hot
        at = bisect.bisect_left(cumulated, self._random.random() * cumulated[-1])
        return self._ranked[1][at]
