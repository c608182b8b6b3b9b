"""What the end-to-end tests share: the cluster with Larder installed by its chart, and a namespace for each test.

They run on whichever cluster `e2e.target` gives, and nothing here knows which one that is.
"""

from collections.abc import Generator, Iterator

import pytest

from e2e import chart, diagnosis
from e2e import target as targets
from e2e.cluster.store import locked
from e2e.kube import Kube, is_ready
from e2e.target import Target
from e2e.tests.stage import Stage, new_namespace

FAILED = pytest.StashKey[bool]()
INSTALL_SECONDS = 600.0


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Target:
    """The cluster, brought up where it is not, with the present chart installed: by one worker after the other."""
    shared_by_workers = tmp_path_factory.getbasetemp().parent
    with locked(shared_by_workers / "install.lock", timeout_seconds=INSTALL_SECONDS, waiting=print):
        found = targets.use()
        install(found)
    return found


@pytest.fixture
def installed(target: Target) -> Target:
    """The cluster with Larder on it, also after a test that removed it."""
    if not target.kube.within(chart.NAMESPACE).all("Deployment"):
        install(target)
    return target


@pytest.fixture
def kube(installed: Target) -> Kube:
    """The API server."""
    return installed.kube


@pytest.fixture
def stage(installed: Target, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A namespace of the test's own; when the test failed, what its objects say of themselves is printed."""
    prepared = Stage(installed, new_namespace(request.node.name))
    installed.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": prepared.namespace}})
    yield prepared
    if request.node.stash.get(FAILED, False):
        print(f"\n--- {prepared.namespace}\n{diagnosis.diagnose(prepared.kube)}")
        print(f"--- {chart.NAMESPACE}\n{diagnosis.diagnose(installed.kube.within(chart.NAMESPACE))}")
        print(f"--- the operator's last words\n{last_words(installed)}")
        print("".join(f"--- {name}'s last words\n{words}" for name, words in unready_words(prepared)))
    installed.kube.delete("Namespace", prepared.namespace)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember on the test that it failed, so that its fixture can say how things stood."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


def install(target: Target) -> None:
    """Install the chart and wait for the operator."""
    chart.install(target.tools)
    chart.wait_ready(target.kube)


def last_words(target: Target) -> str:
    """Return the end of the logs of the operator's pods."""
    selector = ["--selector", "app.kubernetes.io/component=operator", "--tail", "40", "--prefix"]
    try:
        return chart.run([*target.tools.kubectl, "--namespace", chart.NAMESPACE, "logs", *selector], 20)
    except chart.ToolFailedError as error:
        return str(error)


def unready_words(stage: Stage) -> Iterator[tuple[str, str]]:
    """Yield each pod of the stage that is not ready, and the end of its containers' logs."""
    for pod in stage.kube.all("Pod"):
        if not is_ready(pod):
            name = pod["metadata"]["name"]
            try:
                yield name, stage.kubectl("logs", name, "--all-containers", "--prefix", "--tail=20")
            except chart.ToolFailedError as error:
                yield name, f"{error}\n"
