"""`larder simulate`: what it reads, prints and writes, and how it refuses."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from larder.cli import main

PROFILES = "model,size_mb_keras,load_s_m5,exec_s_m5\nresnet,10,2.0,0.1\nvgg,20,3.0,0.2\n"
EVENTS = "timestamp_seconds,model\n0.5,resnet\n10,vgg\n40,resnet\n"
MINUTES = "HashFunction,1_minute,2_minute\nf,1,0\ng,2,1\n"


def run(folder: Path, trace: str, *more: str, profiles: str = PROFILES) -> Result:
    (folder / "trace.csv").write_text(trace)
    (folder / "profiles.csv").write_text(profiles)
    files = ["--trace", str(folder / "trace.csv"), "--profiles", str(folder / "profiles.csv")]
    memory = [] if "--pod-memory" in more or "--memory-fraction" in more else ["--pod-memory", "25M"]
    return CliRunner().invoke(main, ["simulate", *files, "--pods", "1", *memory, *more])


def test_events_are_played_and_the_figures_written_in_base_units(tmp_path: Path) -> None:
    out = [tmp_path / "out.json", tmp_path / "out.csv", tmp_path / "out.png"]
    result = run(
        tmp_path, EVENTS, "--policy", "lru,larder", "--json", str(out[0]), "--csv", str(out[1]), "--plot", str(out[2])
    )
    assert result.exit_code == 0, result.output
    lru, larder = json.loads(out[0].read_text())
    assert (lru["policy"], larder["policy"]) == ("lru", "larder")
    assert lru["added_latency_seconds"] == pytest.approx(2.0 + 3.0 + 2.0)
    assert lru["loads"] == 3
    assert out[1].read_text().startswith("policy,added_latency_seconds,")
    assert out[2].stat().st_size > 1000


def test_functions_by_minutes_take_their_models_from_an_assignment(tmp_path: Path) -> None:
    (tmp_path / "models.csv").write_text("HashFunction,draw\nf,resnet\ng,vgg\n")
    assignment = f"{tmp_path / 'models.csv'}:draw"
    result = run(tmp_path, MINUTES, "--assignment", assignment, "--memory-fraction", "1")
    assert result.exit_code == 0, result.output
    assert "larder" in result.output


@pytest.mark.parametrize(
    ("trace", "words"),
    [
        ("a,b\n1,2\n", "line 1"),
        ("HashFunction,1_minute\nf,-1\n", "line 2, column 1_minute: '-1'"),
        ("HashFunction,1_minute\nf,x\n", "line 2, column 1_minute: 'x'"),
        ("HashFunction,1_minute\nf,nan\n", "whole number"),
        ("timestamp_seconds,model\n5,resnet\n4,vgg\n", "line 3, column timestamp_seconds: '4'"),
        ("timestamp_seconds,model\ninf,resnet\n", "line 2, column timestamp_seconds: 'inf'"),
        ("timestamp_seconds,model\n1,alexnet\n", "alexnet"),
        ("timestamp_seconds,model\n", "holds no request"),
    ],
)
def test_a_wrong_trace_is_refused_with_its_place_and_what_is_allowed(tmp_path: Path, trace: str, words: str) -> None:
    out = tmp_path / "out.json"
    result = run(tmp_path, trace, "--json", str(out))
    assert result.exit_code == 2
    assert words in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not out.exists()


def test_a_profile_without_a_size_is_refused(tmp_path: Path) -> None:
    result = run(tmp_path, EVENTS, profiles="model,size_mb_keras,load_s_m5,exec_s_m5\nresnet,,2.0,0.1\n")
    assert result.exit_code == 2
    assert "line 2, column size_mb_keras: ''" in result.output


def test_a_budget_smaller_than_the_largest_model_is_refused_with_both_numbers(tmp_path: Path) -> None:
    result = run(tmp_path, EVENTS, "--pod-memory", "15M")
    assert result.exit_code == 2
    assert "15000000" in result.output
    assert "vgg alone needs 20000000 bytes" in result.output


def test_an_unknown_policy_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    result = run(tmp_path, EVENTS, "--policy", "arc")
    assert result.exit_code == 2
    assert "cremebrulee-decay" in result.output
