"""A program that fails is explained in a sentence, and one that hangs is ended with its children."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from e2e.cluster.command import interrupt_all, run
from e2e.cluster.errors import ClusterError, CommandFailedError, NoNetworkError, NoSpaceError


def failing(text: str) -> list[str]:
    return ["sh", "-c", f"echo {text!r} >&2; exit 3"]


def test_output_is_returned_and_input_given() -> None:
    assert run(["cat"], stdin="hello", timeout_seconds=10) == "hello"


def test_errors_can_be_kept_out_of_the_output() -> None:
    assert run(["sh", "-c", "echo warning >&2; echo result"], timeout_seconds=10, keep_errors_apart=True) == "result\n"


def test_a_failure_names_the_program_its_status_and_its_words() -> None:
    with pytest.raises(CommandFailedError, match=r"`sh -c .*` failed with status 3: it broke") as caught:
        run(failing("it broke"), timeout_seconds=10)
    assert caught.value.status == 3


@pytest.mark.parametrize(
    "text", ["dial tcp: lookup proxy.example: no such host", "Temporary failure resolving deb.example"]
)
def test_a_missing_network_is_called_that(text: str) -> None:
    with pytest.raises(NoNetworkError, match="network cannot be reached"):
        run(failing(text), timeout_seconds=10, downloads=True)


def test_a_connection_within_the_machine_is_not_the_network() -> None:
    with pytest.raises(CommandFailedError):
        run(failing("dial unix: connect: connection refused"), timeout_seconds=10)


def test_a_full_disk_is_called_that() -> None:
    with pytest.raises(NoSpaceError, match="disk is full"):
        run(failing("write /x: no space left on device"), timeout_seconds=10)


def test_a_missing_program_is_named() -> None:
    with pytest.raises(ClusterError, match="program no-such-program is not installed"):
        run(["no-such-program"], timeout_seconds=10)


def test_a_program_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! >{tmp_path}/child; wait"
    with pytest.raises(ClusterError, match="sh did not end within 1 s"):
        run(["sh", "-c", script], timeout_seconds=1)
    assert ends(int((tmp_path / "child").read_text()))


def test_an_interruption_ends_what_runs_in_other_threads(tmp_path: Path) -> None:
    failures: list[ClusterError] = []
    script = f"import pathlib, time; pathlib.Path({str(tmp_path / 'up')!r}).touch(); time.sleep(600)"

    def work() -> None:
        try:
            run([sys.executable, "-c", script], timeout_seconds=60)
        except ClusterError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while not (tmp_path / "up").exists():
        time.sleep(0.01)
    interrupt_all()
    thread.join(10)
    assert len(failures) == 1


def ends(process_id: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(process_id, 0)
        except ProcessLookupError:
            return True
        if ") Z " in Path(f"/proc/{process_id}/stat").read_text():
            return True
        time.sleep(0.01)
    return False
