"""A server of one external metric, for a HorizontalPodAutoscaler to read: as small as the API allows.

It runs in the cluster on Larder's own image, as an aggregated API with a certificate of its own making, and answers
whatever number it was last told on `/value`.
"""

import textwrap
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAME: Final = "metrics"
PORT: Final = 8443
METRIC: Final = "wanted"
GROUP: Final = "external.metrics.k8s.io"
VERSION: Final = "v1beta1"
_LABELS: Final = {"app": NAME}
PROGRAM: Final = textwrap.dedent(
    """
    import datetime, http.server, json, ssl
    value = {"now": 1}

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            at = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            kind = {"apiVersion": "external.metrics.k8s.io/v1beta1"}
            item = {"metricName": "wanted", "metricLabels": {}, "timestamp": at, "value": str(value["now"])}
            if self.path.rstrip("/").endswith("v1beta1"):
                resource = {"name": "wanted", "namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"]}
                said = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": kind["apiVersion"]}
                self.say({**said, "resources": [{**resource, "singularName": ""}]})
            else:
                self.say({"kind": "ExternalMetricValueList", **kind, "metadata": {}, "items": [item]})

        def do_POST(self):
            value["now"] = int(self.rfile.read(int(self.headers["Content-Length"])))
            self.say(value)

        def say(self, body):
            text = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
    server = http.server.ThreadingHTTPServer(("", 8443), Answer)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
    """
)


def manifests(namespace: str, image: str) -> tuple[dict[str, Any], ...]:
    """Return what brings it up, the registration of its API last."""
    meta = {"name": NAME, "namespace": namespace}
    return (
        {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": _certificate()},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {**meta, "labels": _LABELS}, "spec": _pod(image)},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"selector": _LABELS, "ports": [{"port": 443, "targetPort": PORT}]},
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{VERSION}.{GROUP}"},
            "spec": {
                "group": GROUP,
                "version": VERSION,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "insecureSkipTLSVerify": True,
                "service": {"name": NAME, "namespace": namespace, "port": 443},
            },
        },
    )


def autoscaler(namespace: str, target: Mapping[str, str], most: int) -> dict[str, Any]:
    """Return a HorizontalPodAutoscaler that asks for as many replicas of `target` as the metric says, at once."""
    metric = {"metric": {"name": METRIC}, "target": {"type": "AverageValue", "averageValue": "1"}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {
            "scaleTargetRef": dict(target),
            "minReplicas": 1,
            "maxReplicas": most,
            "metrics": [{"type": "External", "external": metric}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
    }


def _pod(image: str) -> dict[str, Any]:
    return {
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {
                "name": NAME,
                "image": image,
                "command": ["python", "-c", PROGRAM],
                "readinessProbe": {"httpGet": {"path": "/", "port": PORT, "scheme": "HTTPS"}, "periodSeconds": 1},
                "volumeMounts": [{"name": "tls", "mountPath": "/tls"}],
            }
        ],
        "volumes": [{"name": "tls", "secret": {"secretName": NAME}}],
    }


def _certificate() -> dict[str, str]:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
    made = builder.not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {
        "tls.crt": made.public_bytes(serialization.Encoding.PEM).decode(),
        "tls.key": key.private_bytes(*plain).decode(),
    }
