from tests.runtime.stage import Stage

TLS = 'MountVolume.SetUp failed for volume "tls": secret "nosuch" not found'


def ready(stage):
    return stage.condition("pool", "GatewayReady", "modelpools") or ("", "", "")


def creating(pod):
    """Its init container waits for a volume, and all others for the init container."""
    waiting = {"waiting": {"reason": "PodInitializing"}}
    pod["status"]["initContainerStatuses"] = [{"name": "bootstrap", "state": waiting}]
    pod["status"]["containerStatuses"] = [{"name": name, "state": waiting} for name in ("envoy", "activator")]
    _unready(pod)


def unpullable(pod):
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "nowhere:1"'}}
    pod["status"]["containerStatuses"] = [{"name": "envoy", "state": waiting}]
    _unready(pod)


def _unready(pod):
    pod["status"]["conditions"] = [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False"}]


def mount_failed(pod):
    return {
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "tests"},
        "involvedObject": {"uid": f"uid-of-{pod}", "name": pod},
        "action": "",
        "reason": "FailedMount",
        "message": TLS,
    }


async def test_a_tls_secret_that_is_missing_is_said_with_the_kubelets_message():
    async with Stage() as stage:
        await stage.pool()
        await stage.gateway()
        await stage.kube.edit("pods", "g0", creating)
        await stage.kube.put(mount_failed("g0"))
        await stage.start()
        await stage.kube.until(lambda _: TLS in ready(stage)[2])
        assert ready(stage)[:2] == ("False", "GatewayNotReady")
        assert stage.condition("pool", "PodsHealthy", "modelpools")[1] != "NotMounted"


async def test_a_container_of_the_gateway_that_waits_is_said_with_its_own_message():
    async with Stage() as stage:
        await stage.pool()
        await stage.gateway()
        await stage.kube.edit("pods", "g0", unpullable)
        await stage.start()
        await stage.kube.until(lambda _: 'pulling image "nowhere:1"' in ready(stage)[2])
        assert ready(stage)[0] == "False" and "g0, container envoy" in ready(stage)[2]


async def test_what_keeps_a_new_gateway_from_starting_is_said_while_the_old_one_serves():
    async with Stage() as stage:
        await stage.pool()
        await stage.gateway("g0")
        await stage.gateway("g1")
        await stage.kube.edit("pods", "g1", creating)
        await stage.kube.put(mount_failed("g1"))
        await stage.start()
        await stage.kube.until(lambda _: TLS in ready(stage)[2])
        assert ready(stage)[0] == "True"
