"""Call by call: a pool answers as a plain Triton with the same models does, but for the differences that are stated."""

from e2e import models
from e2e.conformance import calls
from e2e.conformance.asking import Call, Server
from e2e.conformance.differences import what_counts
from e2e.forward import forward
from e2e.kube import Manifest, is_ready
from e2e.tests.stage import POOL, Pool, Stage, probes
from larder.api.names import GRPC_PORT, HTTP_PORT, triton_name

FILES = {**probes("alpha"), **models.text("echo"), **models.text("words", decoupled=True)}
NAMES = ("alpha", "echo", "words")
PLAIN = "plain"
GROUPS = (calls.http, calls.generating, calls.rpc, calls.of_the_pool)


def plain(deployment: Manifest) -> Manifest:
    """Return a pod with the pool's own Triton, on its own: every model loaded, nothing restricted, nobody's label."""
    spec = deployment["spec"]["template"]["spec"]
    (triton,) = (container for container in spec["containers"] if container["name"] == "triton")
    unlike = ("--model-control-mode", "--http-restricted-api", "--grpc-restricted-protocol")
    arguments = [argument for argument in triton["args"] if not argument.startswith(unlike)]
    kept = {key: triton[key] for key in ("name", "image", "imagePullPolicy", "volumeMounts", "securityContext", "env")}
    container = {**kept, "args": arguments, "readinessProbe": triton["readinessProbe"]}
    pod = {"containers": [container], "volumes": spec["volumes"], "securityContext": spec.get("securityContext", {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": PLAIN}, "spec": pod}


def difference(call: Call, triton: Server, pool: Server) -> str:
    """Return what a call was answered otherwise; empty: nothing."""
    expected, found = call.ask(triton), call.ask(pool)
    if what_counts(call, expected) == what_counts(call, found):
        return ""
    return f"{call.name}\n  Triton: {expected}\n  pool:   {found}"


def test_a_pool_answers_every_call_as_a_plain_triton_does(stage: Stage) -> None:
    stage.pool(FILES)
    for name in NAMES:
        stage.model(name, copies={"min": 1})
    deployment = stage.kube.get("Deployment", triton_name(POOL))
    assert deployment is not None
    stage.kube.apply(plain(deployment))
    stage.until_served(lambda served: served >= set(NAMES), "all models are served")
    stage.kube.until("Pod", PLAIN, is_ready, 60.0, "the plain Triton is ready")
    kubectl = stage.target.tools.kubectl
    with stage.clients() as pool, forward(kubectl, stage.namespace, f"pod/{PLAIN}", (HTTP_PORT, GRPC_PORT)) as ports:
        alone = Pool(ports)
        triton, gateway = Server(alone.http, alone.grpc), Server(pool.http, pool.grpc)
        differences = [difference(call, triton, gateway) for group in GROUPS for call in group()]
        triton.close()
        gateway.close()
    assert len(differences) > 100
    assert not any(differences), "\n".join(filter(None, differences))
