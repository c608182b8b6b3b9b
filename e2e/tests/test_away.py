"""The API server away: what is served goes on, what is cold waits for it, and when it is back nobody is in a hurry."""

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from e2e.cluster import lifecycle
from e2e.cluster.settings import from_environment
from e2e.tests import own_cluster
from e2e.tests.stage import Stage, probes
from e2e.tests.trickle import Trickle
from e2e.tests.triton import loads

pytestmark = [pytest.mark.timeout(150), own_cluster.only]

LOST_SECONDS = 10.0
"""After that no operator leads any more: a Lease can't be renewed."""
WAITS_SECONDS = 5.0
FOLLOWERS = 4
"""Two operators and two gateways follow the Models."""
LISTED = re.compile(r'^apiserver_request_total\{.*resource="models".*verb="LIST".*\} (\d+)', re.MULTILINE)


def test_while_the_api_server_is_away_hot_requests_go_on_and_a_cold_one_waits_until_it_is_back(stage: Stage) -> None:
    stage.pool(probes("hot", "cold"), gateway={"replicas": 2, "longestHold": "90s"})
    for name in ("hot", "cold"):
        stage.model(name)
    (pod,) = stage.triton_pods()
    clients = stage.service_clients()
    assert clients.ask("hot").status == 200
    with ThreadPoolExecutor(1) as thread, Trickle(clients, "hot") as trickle:
        with lifecycle.without_api_server(from_environment()):
            time.sleep(LOST_SECONDS)
            cold = thread.submit(clients.ask, "cold")
            time.sleep(WAITS_SECONDS)
            assert not cold.done(), "nothing is to be loaded while nobody leads"
        reply = cold.result()
        assert (reply.status, reply.model) == (200, "cold"), reply.text
        listed = sum(int(count) for count in LISTED.findall(stage.kubectl("get", "--raw", "/metrics")))
        print(f"the Models were listed {listed} times since the API server is back")
        assert listed <= FOLLOWERS
    assert trickle.wrong == []
    assert loads(stage, pod["metadata"]["name"]).began == {"hot": 1, "cold": 1}
