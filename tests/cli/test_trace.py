"""`larder trace`: synthetic traces that `larder simulate` reads, and the small one in the repository."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from larder.cli import main
from larder.cli.tables import read_trace
from larder.core.simulation.synthetic import KINDS

DATA = Path(__file__).parents[2] / "benchmarks" / "data"


def make(out: Path, kind: str = "timers", functions: int = 20, seed: int = 1) -> Result:
    size = ["--functions", str(functions), "--minutes", "180", "--seed", str(seed)]
    return CliRunner().invoke(main, ["trace", "--kind", kind, *size, "--out", str(out)])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_trace_is_read_back_as_it_was_made(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "trace.csv"
    result = make(out, kind)
    assert result.exit_code == 0, result.output
    trace = read_trace(out)
    assert trace.names[0] == "f01"
    assert trace.counts is not None
    assert trace.counts.shape == (20, 180)
    assert f"{int(trace.counts.sum()):,} requests" in result.output


def test_the_same_seed_makes_the_same_trace_and_another_seed_another(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make(tmp_path / name, seed=seed)
    first, again, other = ((tmp_path / name).read_text() for name in "abc")
    assert first == again != other


def test_the_small_trace_of_the_repository_is_what_its_command_makes(tmp_path: Path) -> None:
    make(tmp_path / "trace.csv")
    assert (tmp_path / "trace.csv").read_text() == (DATA / "small_trace.csv").read_text()


def test_a_newcomer_can_simulate_at_once() -> None:
    files = ["--trace", str(DATA / "small_trace.csv"), "--profiles", str(DATA / "small_profiles.csv")]
    result = CliRunner().invoke(main, ["simulate", *files, "--memory-fraction", "0.5", "--pods", "2"])
    assert result.exit_code == 0, result.output
    assert "larder" in result.output


def test_a_folder_that_does_not_exist_is_refused_in_one_sentence(tmp_path: Path) -> None:
    result = make(tmp_path / "none" / "trace.csv")
    assert result.exit_code == 2
    assert len(result.output.strip().splitlines()) == 1
    assert "must exist" in result.output
