"""Blocking reads of the gateways' counters from one Prometheus, with prometheus-api-client.

Small answers are read in a thread. The history of a pool may be tens of megabytes: it is read by a process of its own,
`python -m larder.adapters.prometheus_reads`, which takes a request as JSON and writes what `decode` reads.

Counters are read as they were scraped and differenced here: PromQL's `increase` loses the first requests of every new
series, which for a rarely asked model are all there are.
"""

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from string import Template
from typing import Any, Final

import numpy as np
import requests
from numpy.typing import NDArray
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.util.retry import Retry

from larder.api.conditions import ConditionReason
from larder.errors import MetricsError

DEFAULT_SELECTOR: Final = 'namespace="$namespace",pod=~"$pool-gateway-[a-z0-9]+-[a-z0-9]+"'
COUNTER: Final = "larder_requests_total"
"""Of the gateways: answers by model and class."""
SCRAPED_TWICE: Final = "job,endpoint,service,container,prometheus,prometheus_replica,replica"
"""Labels that tell apart only who scraped a series, and where it was found."""
MINUTE_SECONDS: Final = 60
FRESH_SECONDS: Final = 60
"""A minute is known to whom it was scraped so long ago: scrapes are a minute apart at most."""
CHUNK_MINUTES: Final = 16
MOST: Final = int(np.iinfo(np.uint16).max)


@dataclass(frozen=True, slots=True)
class Source:
    """One Prometheus. `selector` finds the gateways of `$pool` in `$namespace`."""

    url: str
    selector: str = DEFAULT_SELECTOR
    token: str = ""
    timeout_seconds: float = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Requests by minute (rows) and model (columns), the oldest first; minutes that are not `known` are all 0."""

    models: tuple[str, ...]
    known: NDArray[np.bool_]
    counts: NDArray[np.uint16]


class Reader:
    """Reads of one pool. Raises MetricsError with the reason."""

    def __init__(self, source: Source, namespace: str, pool: str) -> None:
        headers = {"Authorization": f"Bearer {source.token}"} if source.token else {}
        self._timeout_seconds = source.timeout_seconds
        self._url = source.url
        self._connection = PrometheusConnect(source.url, headers=headers, retry=Retry(0, read=False))
        chosen = Template(source.selector).safe_substitute(namespace=namespace, pool=pool)
        self._series = f"{COUNTER}{{{chosen}}}"

    def age_seconds(self) -> float:
        """How old the newest sample is, by Prometheus' own clock."""
        with self._as_prometheus_does():
            found = self._ask(f"time() - max(timestamp({self._series}))")
            ages = [value for value in (_value(item["value"][1]) for item in found) if value is not None]
        if not ages:
            text = f"it has no counts of this pool's gateways ({self._series}): it must scrape them"
            raise MetricsError(ConditionReason.NO_DATA, f"{self._url}: {text}")
        return min(ages)

    def history(self, minutes: int) -> History:
        """The last so many whole minutes."""
        with self._as_prometheus_does():
            end = int(float(self._ask("time()")[1])) // MINUTE_SECONDS * MINUTE_SECONDS
            tally = _Tally(end - minutes * MINUTE_SECONDS, minutes)
            for first in range(0, minutes + 1, CHUNK_MINUTES):
                last = min(first + CHUNK_MINUTES - 1, minutes)
                tally.take(self._range(tally.start + first * MINUTE_SECONDS, tally.start + last * MINUTE_SECONDS))
            return tally.history()

    def _range(self, start: int, end: int) -> list[dict[str, Any]]:
        inner = f"max without ({SCRAPED_TWICE}) (last_over_time({self._series}[{FRESH_SECONDS}s]))"
        query = f"sum by (model, instance, pod) ({inner})"
        asked = {"query": query, "start": start, "end": end, "step": MINUTE_SECONDS}
        return self._answer("query_range", asked)

    def _ask(self, query: str) -> list[Any]:
        return self._answer("query", {"query": query})

    def _answer(self, what: str, asked: dict[str, Any]) -> list[Any]:
        connection, timeout = self._connection, self._timeout_seconds
        try:
            if what == "query":
                found = connection.custom_query(asked["query"], timeout=timeout)
            else:
                start, end = (datetime.fromtimestamp(asked[at], UTC) for at in ("start", "end"))
                found = connection.custom_query_range(asked["query"], start, end, str(asked["step"]), timeout=timeout)
        except PrometheusApiClientException as error:
            raise self._refused(str(error)) from error
        except requests.exceptions.JSONDecodeError as error:
            raise self._strange(error) from error
        except requests.exceptions.Timeout as error:
            text = f"{self._url} did not answer within {timeout:g} s"
            raise MetricsError(ConditionReason.TIMED_OUT, text) from error
        except requests.exceptions.RequestException as error:
            raise MetricsError(ConditionReason.UNREACHABLE, f"{self._url} can't be reached: {error}") from error
        if not isinstance(found, list):
            raise TypeError(f"{type(found).__name__} where a list should be")
        return found

    @contextmanager
    def _as_prometheus_does(self) -> Iterator[None]:
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise self._strange(error) from error

    def _strange(self, error: Exception) -> MetricsError:
        text = f"{self._url} does not answer as Prometheus does: {type(error).__name__}: {error}"
        return MetricsError(ConditionReason.BAD_ANSWER, text[:500])

    def _refused(self, said: str) -> MetricsError:
        denied = any(f"Status Code {status} " in said for status in (401, 403))
        reason = ConditionReason.UNAUTHORIZED if denied else ConditionReason.BAD_ANSWER
        return MetricsError(reason, f"{self._url} refuses: {said[:300]}")


class _Tally:
    """Turns counters into counts a minute, chunk by chunk, so that no more than a chunk of samples is held."""

    def __init__(self, start: int, minutes: int) -> None:
        self.start, self._minutes = start, minutes
        self._last: dict[tuple[str, str], float] = {}
        self._scraped: dict[str, set[int]] = {}
        self._counts: dict[str, NDArray[np.uint16]] = {}

    def take(self, found: list[dict[str, Any]]) -> None:
        """One chunk; chunks come in the order of time."""
        series = [_series(item) for item in found]
        for _, target, samples in series:
            self._scraped.setdefault(target, set()).update(self._minute(at) for at, _ in samples)
        for model, target, samples in series:
            for at, value in samples:
                self._add(model, target, self._minute(at), value)

    def history(self) -> History:
        """What was counted. A minute is known if a gateway was scraped at its end and at its beginning."""
        ends = [minute for minutes in self._scraped.values() for minute in minutes if minute - 1 in minutes]
        known = np.zeros(self._minutes, dtype=bool)
        known[[minute - 1 for minute in ends if 1 <= minute <= self._minutes]] = True
        models = tuple(sorted(self._counts))
        empty = np.zeros((self._minutes, 0), np.uint16)
        return History(models, known, np.stack([self._counts[m] for m in models], axis=1) if models else empty)

    def _add(self, model: str, target: str, minute: int, value: float) -> None:
        """A counter that shrank began anew; one that appears on a gateway which was scraped before began at 0."""
        before = self._last.get((model, target))
        self._last[model, target] = value
        counts = self._counts.setdefault(model, np.zeros(self._minutes, np.uint16))
        if before is None and minute - 1 not in self._scraped[target]:
            return
        grown = value if before is None or value < before else value - before
        if 1 <= minute <= self._minutes:
            counts[minute - 1] = min(MOST, int(counts[minute - 1]) + round(grown))

    def _minute(self, at_seconds: float) -> int:
        return round((at_seconds - self.start) / MINUTE_SECONDS)


def _series(item: dict[str, Any]) -> tuple[str, str, list[tuple[float, float]]]:
    """The model, who was scraped, and what is a number of its samples."""
    labels = item["metric"]
    samples = ((float(at), _value(text)) for at, text in item.get("values", ()))
    target = f"{labels.get('instance', '')} {labels.get('pod', '')}"
    return labels.get("model", ""), target, [(at, value) for at, value in samples if value is not None]


def _value(text: object) -> float | None:
    """A sample that counts; NaN and infinite ones are none."""
    value = float(str(text))
    return value if math.isfinite(value) and value >= 0.0 else None


def encode(history: History) -> Iterator[bytes]:
    """One line of JSON, then the arrays."""
    yield json.dumps({"models": history.models, "minutes": len(history.known)}).encode() + b"\n"
    yield history.known.tobytes()
    yield history.counts.tobytes()


def decode(answer: bytes) -> History:
    """The other way round. Raises MetricsError, also the one that the other process met."""
    try:
        line, _, rest = answer.partition(b"\n")
        head = json.loads(line)
        if "error" in head:
            raise MetricsError(head["error"], head["message"])
        minutes, models = head["minutes"], tuple(head["models"])
        known = np.frombuffer(rest, bool, minutes)
        return History(models, known, np.frombuffer(rest, np.uint16, offset=minutes).reshape(minutes, len(models)))
    except (ValueError, KeyError) as error:
        text = f"the history could not be read: {answer[-300:].decode(errors='replace')}"
        raise MetricsError(ConditionReason.BAD_ANSWER, text) from error


def request(source: Source, namespace: str, pool: str, minutes: int) -> bytes:
    """What this module, run as a process, takes on its standard input."""
    return json.dumps({"source": asdict(source), "namespace": namespace, "pool": pool, "minutes": minutes}).encode()


def main() -> None:
    """Answer one request."""
    asked = json.load(sys.stdin)
    try:
        history = Reader(Source(**asked["source"]), asked["namespace"], asked["pool"]).history(asked["minutes"])
    except MetricsError as error:
        sys.stdout.write(json.dumps({"error": str(error.reason), "message": str(error)}) + "\n")
        return
    for part in encode(history):
        sys.stdout.buffer.write(part)


if __name__ == "__main__":
    main()
