"""Asks a cluster whether it is up: the API server over HTTPS, CoreDNS over UDP."""

import http.client
import json
import secrets
import socket
import ssl
from datetime import datetime
from ipaddress import IPv4Address
from typing import Any

from e2e.cluster import pki
from e2e.cluster.settings import Settings

_SECONDS = 3.0


def get(settings: Settings, path: str) -> tuple[int, bytes] | None:
    """Status and body of a GET as the administrator; None if the API server does not answer."""
    folder = settings.state / "pki"
    try:
        context = ssl.create_default_context(cafile=str(pki.certificate(folder, "ca")))
        context.load_cert_chain(pki.certificate(folder, pki.ADMIN), pki.key(folder, pki.ADMIN))
        connection = http.client.HTTPSConnection(
            str(settings.nodes[0].address), settings.api_port, timeout=_SECONDS, context=context
        )
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return None


def is_ready(settings: Settings) -> bool:
    """Whether the API server says that it is ready."""
    answer = get(settings, "/readyz")
    return answer is not None and answer[0] == 200


def node_is_ready(settings: Settings, name: str, since: datetime | None) -> bool:
    """Whether a node is Ready, by a heartbeat not older than `since`."""
    answer = get(settings, f"/api/v1/nodes/{name}")
    return answer is not None and answer[0] == 200 and says_ready(json.loads(answer[1]), since)


def says_ready(node: dict[str, Any], since: datetime | None) -> bool:
    """The rule of `node_is_ready` on a Node object."""
    conditions = {condition["type"]: condition for condition in node.get("status", {}).get("conditions", [])}
    ready = conditions.get("Ready")
    if ready is None or ready["status"] != "True":
        return False
    return since is None or datetime.fromisoformat(ready["lastHeartbeatTime"]) >= since.replace(microsecond=0)


def resolves(server: IPv4Address, name: str) -> bool:
    """Whether a DNS server answers for a name with at least one address."""
    query = dns_query(name, secrets.token_bytes(2))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        try:
            client.sendto(query, (str(server), 53))
            return is_dns_answer(client.recv(4096), query)
        except OSError:
            return False


def dns_query(name: str, identifier: bytes) -> bytes:
    """A question for the address (type A) of a name."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return identifier + bytes.fromhex("0100 0001 0000 0000 0000") + labels + bytes.fromhex("00 0001 0001")


def is_dns_answer(packet: bytes, query: bytes) -> bool:
    """Whether a packet answers the query, without error and with at least one record."""
    return len(packet) > 12 and packet[:2] == query[:2] and packet[3] & 0x0F == 0 and packet[6:8] != b"\0\0"
