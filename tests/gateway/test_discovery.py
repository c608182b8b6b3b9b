"""What Envoy is sent and what its acknowledgements mean, message by message."""

from envoy.service.discovery.v3 import discovery_pb2

from larder.gateway.discovery import ENDPOINTS_TYPE, Session
from larder.gateway.envoy import GRPC_CLUSTER, HTTP_CLUSTER
from larder.gateway.routes import Table


def table(generation, *models, ip="10.0.0.1"):
    return Table({}, {ip: models} if models else {}, {"uid": (1, generation)})


def subscribe(*names):
    return discovery_pb2.DeltaDiscoveryRequest(type_url=ENDPOINTS_TYPE, resource_names_subscribe=names)


def acknowledge(response, error=None):
    request = discovery_pb2.DeltaDiscoveryRequest(type_url=ENDPOINTS_TYPE, response_nonce=response.nonce)
    if error is not None:
        request.error_detail.message = error
    return request


def test_both_clusters_get_their_endpoints_and_the_acknowledgement_names_the_versions():
    session = Session()
    session.take(subscribe(HTTP_CLUSTER, GRPC_CLUSTER))
    response = session.response(table(1, "m"), 0.0)
    assert {resource.name for resource in response.resources} == {HTTP_CLUSTER, GRPC_CLUSTER}
    assert session.take(acknowledge(response)).versions == {"uid": (1, 1)}


def test_while_only_one_cluster_is_told_nothing_counts_as_seen():
    session = Session()
    session.take(subscribe(HTTP_CLUSTER))
    first = session.response(table(1, "m"), 0.0)
    session.take(subscribe(GRPC_CLUSTER))
    assert session.take(acknowledge(first)) is None
    second = session.response(table(1, "m"), 0.0)
    assert [resource.name for resource in second.resources] == [GRPC_CLUSTER]
    assert session.take(acknowledge(second)).versions == {"uid": (1, 1)}


def test_a_generation_that_changes_no_endpoint_is_told_without_resources():
    session = Session()
    session.take(subscribe(HTTP_CLUSTER, GRPC_CLUSTER))
    session.take(acknowledge(session.response(table(1, "m"), 0.0)))
    assert session.response(table(1, "m"), 0.0) is None
    response = session.response(table(2, "m"), 0.0)
    assert not response.resources
    assert session.take(acknowledge(response)).versions == {"uid": (1, 2)}


def test_a_refused_change_is_not_seen():
    session = Session()
    session.take(subscribe(HTTP_CLUSTER, GRPC_CLUSTER))
    assert session.take(acknowledge(session.response(table(1, "m"), 0.0), "no")) is None


def test_the_last_pod_that_goes_leaves_empty_endpoints():
    session = Session()
    session.take(subscribe(HTTP_CLUSTER, GRPC_CLUSTER))
    session.response(table(1, "m"), 0.0)
    assert len(session.response(table(2), 0.0).resources) == 2
