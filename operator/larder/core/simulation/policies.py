"""Every policy by its name on the command line."""

from collections.abc import Callable
from typing import Final

import numpy as np

from larder.core.simulation.caching import Caching
from larder.core.simulation.hit_density import HitDensity
from larder.core.simulation.keep_alive import HybridHistogram, KeepAlive
from larder.core.simulation.larder import LarderPolicy
from larder.core.simulation.oracle import NextUse, Prefetching
from larder.core.simulation.ranking import GreedyDual, Lfu, Lru, Random, Ranking
from larder.core.simulation.workload import Workload
from larder.core.simulation.world import Policy

HALF_LIFE_SECONDS = 3600.0

RANKINGS: Final[dict[str, Callable[[], Ranking]]] = {
    "random": lambda: Random(np.random.default_rng(0)),
    "lru": Lru,
    "lfu": Lfu,
    "lfu-decay": lambda: Lfu(HALF_LIFE_SECONDS),
    "gdsf": lambda: GreedyDual(lifetime_counts=True),
    "faascache": lambda: GreedyDual(lifetime_counts=False),
    "lhd": HitDensity,
    "cremebrulee": lambda: Lfu(None, per_byte_cost=True),
    "cremebrulee-decay": lambda: Lfu(HALF_LIFE_SECONDS, per_byte_cost=True),
}
"""The classical online policies that differ only in what leaves first."""

ONLINE: Final = (*RANKINGS, "keep-alive", "hybrid-histogram")
"""Everything published that does not know the future; the best of these is what Larder is measured against."""

POLICIES: Final = ("larder", *ONLINE, "belady", "belady-prefetch", "belady-prefetch-seen")


def make_policy(name: str, workload: Workload, larder_order: bool = False) -> Policy:
    """A fresh policy for one run. Raises KeyError for a name that is not in POLICIES."""
    others: dict[str, Callable[[], Policy]] = {
        "larder": lambda: LarderPolicy(workload),
        "keep-alive": KeepAlive,
        "hybrid-histogram": lambda: HybridHistogram(workload),
        "belady": lambda: Caching(NextUse()),
        "belady-prefetch": lambda: Prefetching(seen_only=False),
        "belady-prefetch-seen": lambda: Prefetching(seen_only=True),
    }
    return Caching(RANKINGS[name](), larder_order) if name in RANKINGS else others[name]()
