import os
import select
import sys
from pathlib import Path

import pytest

from e2e.suites import running, shares
from larder.errors import InvalidInputError

TABLE = """
| suite | what it shows | command | warm, min | from nothing, min |
| --- | --- | --- | --- | --- |
| unit | rules of the core | `pytest tests` | 2 | 3 |
| pods | pods that die | `pytest "e2e/tests/some pods"` | 0.5 | 1 |

Text after it.
"""


def test_the_table_gives_each_suite_its_command_and_its_shares_in_seconds() -> None:
    unit, pods = shares.read(TABLE)
    assert unit == shares.Suite("unit", ("pytest", "tests"), 120, 180)
    assert pods == shares.Suite("pods", ("pytest", "e2e/tests/some pods"), 30, 60)


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("| suite |", "| name |", "no table of suites"),
        ("`pytest tests`", "pytest tests", "one command in backquotes"),
        ("| 2 |", "| two |", "minutes as a number"),
        ("| 2 |", "| 0 |", "more than 0 minutes"),
        ("| pods |", "| unit |", "each name once"),
    ],
)
def test_a_wrong_table_is_refused_with_what_is_allowed(before: str, after: str, complaint: str) -> None:
    with pytest.raises(InvalidInputError, match=complaint):
        shares.read(TABLE.replace(before, after))


def test_the_shares_in_contributing_keep_within_the_budgets() -> None:
    suites = shares.read(shares.CONTRIBUTING.read_text())
    assert sum(suite.warm_seconds for suite in suites) <= 30 * 60
    assert sum(suite.from_nothing_seconds for suite in suites) <= 50 * 60


def test_a_suite_passes_when_its_command_does(tmp_path: Path) -> None:
    outcome = running.run("unit", (sys.executable, "-c", "pass"), 30, tmp_path)
    assert outcome.verdict is running.Verdict.PASSED
    assert 0 < outcome.elapsed_seconds < outcome.allowed_seconds


def test_a_suite_fails_when_its_command_does(tmp_path: Path) -> None:
    assert running.run("unit", (sys.executable, "-c", "exit(3)"), 30, tmp_path).verdict is running.Verdict.FAILED


def test_a_suite_over_its_share_is_ended_with_all_it_started(tmp_path: Path) -> None:
    script = "sleep 300 & echo $! > child; wait"
    outcome = running.run("unit", ("bash", "-c", script), 1.0, tmp_path)
    assert outcome.verdict is running.Verdict.OVER
    child = int((tmp_path / "child").read_text())
    assert has_ended(child)


def has_ended(pid: int) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 5)[0])
    finally:
        os.close(descriptor)
