"""`make demo` from its beginning to its end: the cluster, the chart, the pool, the story, and what to try next."""

from rich.table import Table

from e2e import chart, diagnosis
from e2e.demo import manifests, setting
from e2e.demo.asking import Answer, Asker
from e2e.demo.questions import BY_MODEL
from e2e.demo.story import Record, Story
from e2e.demo.timeline import Timeline
from e2e.demo.watching import Watching
from e2e.forward import forward
from e2e.target import Target
from larder.api.names import GRPC_PORT, HTTP_PORT
from larder.errors import LarderError


def tell(timeline: Timeline) -> bool:
    """Tell the whole demo; return whether every request was answered right and the eviction happened."""
    used: Target | None = None
    try:
        used = setting.bring_up(timeline)
        setting.install(used, timeline)
        record = _tell_on(used, timeline)
    except LarderError as error:
        _explain(used, error, timeline)
        return False
    _close(used, record, timeline)
    return not record.failures


def _tell_on(used: Target, timeline: Timeline) -> Record:
    setting.apply(used, timeline)
    watching = Watching(used.kube.within(manifests.NAMESPACE), timeline.happened)
    watching.start()
    service = f"service/{manifests.POOL}"
    try:
        with forward(used.tools.kubectl, manifests.NAMESPACE, service, (HTTP_PORT, GRPC_PORT)) as ports:
            return _story(Asker(ports), watching, timeline)
    finally:
        watching.stop()


def _story(asker: Asker, watching: Watching, timeline: Timeline) -> Record:
    try:
        return Story(asker, watching, timeline).tell()
    finally:
        asker.close()


def _explain(used: Target | None, error: LarderError, timeline: Timeline) -> None:
    timeline.chapter("The demo failed")
    timeline.print(str(error))
    if used is None:
        return
    for namespace in (manifests.NAMESPACE, chart.NAMESPACE):
        timeline.chapter(f"How things stand in namespace {namespace}")
        timeline.print(diagnosis.diagnose(used.kube.within(namespace)))


def _close(used: Target, record: Record, timeline: Timeline) -> None:
    timeline.chapter("How it ended")
    timeline.print(totals(record))
    setting.settle(used)
    command = [*used.tools.kubectl, "--namespace", manifests.NAMESPACE, "get", "modelpools,models"]
    timeline.print("\n$ kubectl get modelpools,models\n" + chart.run(command, timeout_seconds=20))
    for failure in record.failures:
        timeline.say("wrong", failure, "bold red")
    timeline.chapter("What to try next")
    timeline.print(_next(used))


def totals(record: Record) -> Table:
    """Return what was asked of each model, cold and hot, with the median latency."""
    table = Table(box=None, pad_edge=False)
    for column in ("model", "cold", "median", "hot", "median", "right"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for model in BY_MODEL:
        cold = [answer for answer in record.cold if answer.question.model == model]
        hot = [answer for answer in record.hot if answer.question.model == model]
        right = sum(answer.is_right for answer in cold + hot)
        counts = (str(len(cold)), _median(cold), str(len(hot)), _median(hot), f"{right}/{len(cold + hot)}")
        table.add_row(model, *counts)
    return table


def _median(answers: list[Answer]) -> str:
    if not answers:
        return "-"
    latencies = sorted(answer.latency_seconds for answer in answers)
    return f"{latencies[len(latencies) // 2] * 1000:,.0f} ms"


def _next(used: Target) -> str:
    lines = [
        ("the command line that is meant below", f"alias k='{' '.join(used.tools.kubectl)} -n {manifests.NAMESPACE}'"),
        ("why each model is where it is", "k describe models"),
        ("follow what is decided", "k get events --watch"),
        ("every field explained", "k explain modelpool.spec"),
        ("room for the third model", "k scale modelpool demo --replicas=2"),
        ("keep one always loaded", 'k patch model filetype --type=merge -p \'{"spec":{"copies":{"min":1}}}\''),
        ("send requests of your own", "k port-forward service/demo 8000 8001"),
        ("what was applied", str(manifests.FILE.relative_to(chart.ROOT))),
        ("remove it all", "make demo-down"),
    ]
    return "\n".join(f"{what:<38} {command}" for what, command in lines)
