"""What is built appears whole or not at all, and two runs never build at once."""

import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e.cluster import store
from e2e.cluster.errors import ClusterError


def test_a_file_that_fails_half_way_does_not_appear(tmp_path: Path) -> None:
    target = tmp_path / "folder" / "program"
    with pytest.raises(RuntimeError), store.produced(target) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert not target.exists()
    assert list(target.parent.iterdir()) == []


def test_a_file_that_succeeds_appears_whole(tmp_path: Path) -> None:
    with store.produced(tmp_path / "program") as partial:
        partial.write_text("whole")
        assert not (tmp_path / "program").exists()
    assert (tmp_path / "program").read_text() == "whole"


def test_what_killed_runs_left_is_found(tmp_path: Path) -> None:
    left = tmp_path / "bin" / ".partial-77-helm"
    left.parent.mkdir()
    left.touch()
    (tmp_path / "bin" / "helm-1").touch()
    assert store.partials(tmp_path) == (left,)


def test_writing_the_same_content_again_leaves_the_file_alone(tmp_path: Path) -> None:
    target = tmp_path / "file"
    store.write(target, "content", 0o600)
    before = target.stat()
    store.write(target, "content", 0o600)
    assert target.stat().st_ino == before.st_ino
    assert before.st_mode & 0o777 == 0o600


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_different_parts_have_different_digests(one: list[bytes], other: list[bytes]) -> None:
    assert (store.digest(one) == store.digest(other)) == (one == other)


def test_a_second_run_waits_says_so_and_gives_up(tmp_path: Path) -> None:
    said: list[str] = []
    with store.locked(tmp_path / "lock", timeout_seconds=1, waiting=said.append):
        assert said == []
        with (
            pytest.raises(ClusterError, match="for more than 0 s"),
            store.locked(tmp_path / "lock", timeout_seconds=0.3, waiting=said.append),
        ):
            pass
    assert len(said) == 1
    assert "waiting for it" in said[0]


def test_a_lock_of_a_killed_run_is_free(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / "lock", held))
    holder.start()
    assert held.wait(30)
    holder.kill()
    holder.join()
    with store.locked(tmp_path / "lock", timeout_seconds=5, waiting=lambda _: None):
        pass


def _hold(path: Path, held: object) -> None:
    with store.locked(path, timeout_seconds=1, waiting=lambda _: None):
        held.set()  # type: ignore[attr-defined]
        multiprocessing.get_context("spawn").Event().wait()
