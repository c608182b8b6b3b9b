from larder.runtime.pods import parse_pod
from tests.runtime.stage import pod_manifest


def pod(**container):
    manifest = pod_manifest("t0", "triton", "triton", "10.0.0.1")
    manifest["metadata"]["resourceVersion"] = "7"
    manifest["status"]["containerStatuses"][0].update(container)
    return manifest


def trouble(**container):
    found = parse_pod(pod(**container)).trouble
    return None if found is None else (str(found.reason), found.message)


def test_a_pod_that_runs_has_no_trouble():
    assert trouble() is None


def test_a_container_that_runs_not_has_no_id():
    assert parse_pod(pod(state={"terminated": {"exitCode": 1}})).container_id == ""


def test_an_image_that_cannot_be_pulled_is_told_from_a_container_that_fails():
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "not found"}}
    assert trouble(state=waiting) == ("ImageUnavailable", "Pod t0, container triton: ErrImagePull: not found")


def test_a_crashing_container_says_its_own_last_words_without_the_tables():
    output = "+-----+\n| a   |\nI1123 exiting\nerror: creating server: no such bucket\n+---+\n"
    ended = {"terminated": {"reason": "Error", "exitCode": 1, "message": output}}
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}
    reason, message = trouble(state=waiting, lastState=ended, restartCount=3)
    assert reason == "ContainerFails"
    assert message.endswith("it ended with Error (1) I1123 exiting error: creating server: no such bucket")


def test_between_two_crashes_it_says_the_same():
    ended = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    reason, message = trouble(lastState=ended, restartCount=2, ready=False)
    assert reason == "ContainerFails" and "OOMKilled (137)" in message


def test_a_container_that_restarted_and_is_ready_again_has_no_trouble():
    ended = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    assert trouble(lastState=ended, restartCount=2, ready=True) is None


def test_a_pod_that_cannot_be_scheduled_says_why():
    manifest = pod()
    manifest["status"]["conditions"] = [{"type": "PodScheduled", "status": "False", "message": "no node has a GPU"}]
    found = parse_pod(manifest).trouble
    assert (str(found.reason), found.message) == ("Unschedulable", "Pod t0: no node has a GPU")


def test_a_pod_creates_while_all_its_containers_wait_for_that():
    assert parse_pod(pod(state={"waiting": {"reason": "ContainerCreating"}})).creating
    assert not parse_pod(pod()).creating


def test_a_failed_pod_serves_as_little_as_a_deleted_one():
    manifest = pod()
    manifest["status"]["phase"] = "Failed"
    assert parse_pod(manifest).deleting
