"""What the pool looks like while it is asked, once a second: pods, resident models, memory."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from e2e.kube import Kube, Manifest, is_ready
from e2e.served import served
from e2e.tests.stage import POOL, condition_of
from larder.api.names import COMPONENT_LABEL, POOL_LABEL, TRITON
from larder.api.quantities import parse_bytes
from larder.errors import LarderError

EVERY_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The pool at one moment. `pods` are all that exist, `ready` take requests, `going` are being deleted."""

    at_seconds: float
    pods: int
    ready: int
    resident: int
    copies: int
    used_bytes: int | None
    budget_bytes: int | None
    going: int = 0
    why: str = ""
    """What the pool says of the number of its pods."""


@dataclass(slots=True)
class Watch:
    """The samples so far; times are Unix seconds."""

    kube: Kube
    samples: list[Sample] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Look until told to end, and once more then; an API server that does not answer is asked again."""
        is_last = False
        while not is_last:
            is_last = self._ended.wait(EVERY_SECONDS)
            with suppress(LarderError):
                self.samples.append(look(self.kube))

    def end(self) -> None:
        """Look no more."""
        self._ended.set()


def look(kube: Kube) -> Sample:
    """Return the pool as the API server shows it now."""
    pods = kube.all("Pod", selector=f"{POOL_LABEL}={POOL},{COMPONENT_LABEL}={TRITON}")
    pool = kube.get("ModelPool", POOL)
    status = (pool or {}).get("status") or {}
    held = [served(pod) for pod in pods]
    used, budget = status.get("memoryUsed"), status.get("memoryBudget")
    return Sample(
        time.time(),
        len(pods),
        sum(is_ready(pod) and not _goes(pod) for pod in pods),
        len(frozenset().union(*held)),
        sum(len(models) for models in held),
        None if used is None else parse_bytes("status.memoryUsed", used, allow_zero=True),
        None if budget is None else parse_bytes("status.memoryBudget", budget, allow_zero=True),
        sum(map(_goes, pods)),
        condition_of(pool, "Autoscaling").get("message", ""),
    )


def _goes(pod: Manifest) -> bool:
    return "deletionTimestamp" in pod["metadata"]


@contextmanager
def watching(kube: Kube) -> Iterator[Watch]:
    """Watch while the block runs."""
    watch = Watch(kube)
    thread = threading.Thread(target=watch.run, name="watching", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        watch.end()
        thread.join()


def stop_seconds(samples: Sequence[Sample]) -> float | None:
    """Return how long a pod took to be gone once it was deleted, on average; None where none went."""
    gone = sum(max(0, one.going - after.going) for one, after in pairwise(samples))
    spent = sum(one.going * (after.at_seconds - one.at_seconds) for one, after in pairwise(samples))
    return spent / gone if gone else None


def pod_seconds(samples: list[Sample], begin_seconds: float, end_seconds: float) -> float:
    """Return the seconds for which pods existed, each sample standing until the next one."""
    total = 0.0
    for sample, after in zip(samples, [*(s.at_seconds for s in samples[1:]), end_seconds], strict=True):
        span = min(after, end_seconds) - max(sample.at_seconds, begin_seconds)
        total += sample.pods * max(0.0, span)
    return total
