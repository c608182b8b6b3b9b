"""What a cold start is made of: Triton's log, the meters of operator and gateway, and the table of both."""

import contextlib
import re
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import urllib3
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from e2e import chart
from e2e.forward import forward
from e2e.tests.stage import POOL, Stage
from larder.api.names import COMPONENT_LABEL, GATEWAY, GATEWAY_METRICS_PORT, POOL_LABEL

OPERATOR_METRICS_PORT: Final = 9101
LOADING: Final = re.compile(r'^I(\d{4} \d\d:\d\d:\d\d\.\d{6}) .*"loading: (\S+):1"')
LOADED: Final = re.compile(r"^I(\d{4} \d\d:\d\d:\d\d\.\d{6}) .*\"successfully loaded '(\S+)'\"")
METERS: Final = (
    "larder_gateway_held_seconds",
    "larder_cold_decision_seconds",
    "larder_load_seconds",
    "larder_hint_seconds",
)


@dataclass(frozen=True, slots=True)
class ColdStart:
    """One first request: its latency, what its model computed, and the load that Triton logged; seconds."""

    first_seconds: float
    compute_seconds: float
    load_seconds: float

    @property
    def overhead_seconds(self) -> float:
        """What is neither Triton's load nor the model's own computing."""
        return self.first_seconds - self.load_seconds - self.compute_seconds


@dataclass(frozen=True, slots=True)
class Sums:
    """The sums and counts of histograms, by name, over all pods of operator and gateway."""

    by_name: dict[str, tuple[float, float]]

    def __sub__(self, before: "Sums") -> "Sums":
        """What was added since."""
        nothing = (0.0, 0.0)
        return Sums(
            {
                name: (total - before.by_name.get(name, nothing)[0], count - before.by_name.get(name, nothing)[1])
                for name, (total, count) in self.by_name.items()
            }
        )

    def mean(self, name: str) -> float:
        """The mean in seconds; not a number where nothing was counted."""
        total, count = self.by_name.get(name, (0.0, 0.0))
        return total / count if count else float("nan")


@contextlib.contextmanager
def meters(stage: Stage) -> Iterator[Callable[[], Sums]]:
    """Yield a reader of the histograms of the stage's gateways and of all operators."""
    gateways = stage.kube.all("Pod", selector=f"{POOL_LABEL}={POOL},{COMPONENT_LABEL}={GATEWAY}")
    operators = stage.target.kube.within(chart.NAMESPACE).all("Pod", selector="app.kubernetes.io/name=larder")
    pods = [(stage.namespace, pod["metadata"]["name"], GATEWAY_METRICS_PORT) for pod in gateways]
    pods += [(chart.NAMESPACE, pod["metadata"]["name"], OPERATOR_METRICS_PORT) for pod in operators]
    with contextlib.ExitStack() as stack:
        urls = []
        for namespace, name, port in pods:
            ports = stack.enter_context(forward(stage.target.tools.kubectl, namespace, f"pod/{name}", (port,)))
            urls.append(f"http://127.0.0.1:{ports[port]}/metrics")
        yield lambda: _sums(urls, stage.namespace)


def _sums(urls: list[str], namespace: str) -> Sums:
    found: dict[str, tuple[float, float]] = {}
    for url in urls:
        text = urllib3.request("GET", url, timeout=10.0, retries=2).data.decode()
        for family in text_string_to_metric_families(text):
            if family.name not in METERS:
                continue
            for sample in family.samples:
                if sample.labels.get("namespace", namespace) == namespace:
                    total, count = found.get(family.name, (0.0, 0.0))
                    total += sample.value if sample.name.endswith("_sum") else 0.0
                    count += sample.value if sample.name.endswith("_count") else 0.0
                    found[family.name] = (total, count)
    return Sums(found)


def load_seconds(log: str) -> dict[str, list[float]]:
    """Return Triton's own time of each load of each model in order, from the lines of its log."""
    began: dict[str, datetime] = {}
    found: dict[str, list[float]] = {}
    for line in log.splitlines():
        if match := LOADING.match(line):
            began[match[2]] = moment(match[1])
        elif (match := LOADED.match(line)) and match[2] in began:
            found.setdefault(match[2], []).append((moment(match[1]) - began.pop(match[2])).total_seconds())
    return found


def moment(text: str) -> datetime:
    """Parse the time of a line, which has no year."""
    return datetime.strptime(f"2024 {text}", "%Y %m%d %H:%M:%S.%f").replace(tzinfo=UTC)


def report(console: Console, found: list[ColdStart]) -> tuple[float, float]:
    """Print the quantiles of all parts; return the overhead's p50 and p99 in milliseconds."""
    cuts: list[float] = []
    for what, values in (
        ("first answer", [c.first_seconds for c in found]),
        ("Triton's load", [c.load_seconds for c in found]),
        ("own compute", [c.compute_seconds for c in found]),
        ("overhead", [c.overhead_seconds for c in found]),
    ):
        cuts = [cut * 1000 for cut in statistics.quantiles(values, n=100, method="inclusive")]
        console.print(f"{what:<14} p50 {cuts[49]:8.1f}   p99 {cuts[98]:8.1f}   max {max(values) * 1000:8.1f}")
    return cuts[49], cuts[98]


def shares(console: Console, found: list[ColdStart], spent: Sums) -> None:
    """Print the means of what the overhead is made of; they add up to its mean."""
    first, compute, load = (
        statistics.fmean(values)
        for values in zip(*((c.first_seconds, c.compute_seconds, c.load_seconds) for c in found), strict=True)
    )
    held, decision, called, told = (spent.mean(name) for name in METERS)
    for what, seconds in (
        ("detection (held, less all below: the demand stream both ways)", held - decision - called - told),
        ("decision (operator heard to load begun)", decision),
        ("load call (less what Triton logged)", called - load),
        ("publication (Triton's answer to gateways told)", told),
        ("forwarding (client, Envoy, activator, Triton and back)", first - held - compute),
    ):
        console.print(f"  {seconds * 1000:6.1f}  {what}")
