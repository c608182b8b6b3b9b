"""Each step is shown with its time, in plain lines where there is no terminal."""

import pytest

from e2e.cluster.progress import Progress


def test_a_step_says_that_it_began_and_how_long_it_took(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress, progress.step("Building helm"):
        pass
    printed = capsys.readouterr()
    assert printed.out == "", "standard output is for results"
    first, second = printed.err.splitlines()
    assert first.endswith("Building helm ...")
    assert second.endswith("Building helm: 0.0 s")


def test_a_step_that_fails_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress, pytest.raises(ValueError, match="no"), progress.step("Building helm"):
        raise ValueError("no")
    assert "Building helm: failed after 0.0 s" in capsys.readouterr().err
