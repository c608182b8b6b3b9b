"""Programs are known again by process id and start time, and nothing else is ever ended."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from e2e.cluster import processes
from e2e.cluster.processes import Program, Record

SLEEPER = Program("sleeper", (sys.executable, "-c", "import time; time.sleep(600)"), grace_seconds=5.0)
STUBBORN = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)


def start(folder: Path, program: Program = SLEEPER, entries: tuple[Path, ...] = ()) -> Record:
    return processes.start(folder / "run", folder / "logs", program, entries)


def wait_for_the_end(record: Record) -> None:
    deadline = time.monotonic() + 30
    while processes.start_ticks(record.process_id) == record.start_ticks:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_program_is_found_again_and_ended(tmp_path: Path) -> None:
    record = start(tmp_path)
    assert processes.running(tmp_path / "run", "sleeper") == record
    processes.stop(tmp_path / "run", {"sleeper": 5.0})
    assert processes.running(tmp_path / "run", "sleeper") is None
    assert processes.start_ticks(record.process_id) is None
    assert not (tmp_path / "run" / "sleeper.json").exists()


def test_a_program_enters_its_control_groups_before_it_runs(tmp_path: Path) -> None:
    entry = tmp_path / "cgroup.procs"
    record = start(tmp_path, Program("reader", ("cat", str(entry))), entries=(entry,))
    wait_for_the_end(record)
    assert processes.log_tail(tmp_path / "logs", "reader") == "0"


def test_a_program_that_cannot_enter_its_control_group_does_not_run(tmp_path: Path) -> None:
    record = start(tmp_path, entries=(tmp_path / "absent" / "cgroup.procs",))
    wait_for_the_end(record)
    assert "cgroup.procs" in processes.log_tail(tmp_path / "logs", "sleeper")


def test_a_process_that_got_the_same_id_later_is_neither_ours_nor_ended(tmp_path: Path) -> None:
    other = subprocess.Popen(["sleep", "600"])
    try:
        ticks = processes.start_ticks(other.pid)
        assert ticks is not None
        boot_id = processes.BOOT_ID.read_text().strip()
        record = Record(other.pid, ticks - 1, boot_id, "identity")
        (tmp_path / "sleeper.json").write_text(json.dumps(asdict(record)))
        assert processes.running(tmp_path, "sleeper") is None
        processes.stop(tmp_path, {"sleeper": 0.0})
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_record_of_an_earlier_boot_names_nothing(tmp_path: Path) -> None:
    record = replace(start(tmp_path), boot_id="another")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "sleeper.json").write_text(json.dumps(asdict(record)))
    assert processes.running(tmp_path / "old", "sleeper") is None
    processes.stop(tmp_path / "run", {"sleeper": 5.0})


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"process_id": 1', "null"])
def test_a_damaged_record_names_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "sleeper.json").write_text(content)
    assert processes.running(tmp_path, "sleeper") is None


def test_a_program_that_ignores_the_first_signal_is_killed_after_its_grace(tmp_path: Path) -> None:
    record = start(tmp_path, Program("stubborn", (sys.executable, "-c", STUBBORN)))
    while "up" not in processes.log_tail(tmp_path / "logs", "stubborn"):
        assert processes.running(tmp_path / "run", "stubborn")
    processes.stop(tmp_path / "run", {"stubborn": 0.1})
    assert processes.start_ticks(record.process_id) is None


def test_a_zombie_does_not_count_as_running() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert processes.start_ticks(child.pid) is None
    child.wait()


def test_a_program_started_without_a_record_is_a_stray_and_its_children_are_not(tmp_path: Path) -> None:
    known = start(tmp_path)
    unrecorded = start(tmp_path / "lost")
    child = subprocess.Popen(["sleep", "600"])
    members = (known.process_id, unrecorded.process_id, child.pid)
    assert processes.strays(tmp_path / "run", members) == {unrecorded.process_id}
    processes.end_strays(tmp_path / "run", members)
    assert processes.start_ticks(unrecorded.process_id) is None
    assert processes.running(tmp_path / "run", "sleeper") == known
    assert child.poll() is None
    child.kill()
    child.wait()
    processes.stop(tmp_path / "run", {"sleeper": 5.0})


def test_other_arguments_or_configuration_make_another_identity() -> None:
    assert replace(SLEEPER, argv=("other",)).identity != SLEEPER.identity
    assert replace(SLEEPER, config="other").identity != SLEEPER.identity
    assert replace(SLEEPER).identity == SLEEPER.identity
