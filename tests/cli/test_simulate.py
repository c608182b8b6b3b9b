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


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert len(result.output.strip().splitlines()) == 1, result.output
    assert "is not allowed; " in result.output
    for word in words:
        assert word in result.output


@pytest.mark.parametrize(
    ("trace", "words"),
    [
        ("a,b\n1,2\n", "trace.csv, line 1: 'a,b'"),
        ("", "trace.csv, line 1: ''"),
        ("HashFunction,1_minute,3_minute\nf,1,1\n", "line 1, column 3_minute: '3_minute'"),
        ("HashFunction,1_minute\nf,-1\n", "line 2, column 1_minute: '-1'"),
        ("HashFunction,1_minute\nf,x\n", "line 2, column 1_minute: 'x'"),
        ("HashFunction,1_minute\nf,nan\n", "whole number"),
        ("HashFunction,1_minute\nf,1.5\n", "line 2, column 1_minute: '1.5'"),
        ("HashFunction,1_minute\nf,99999999999999999999999\n", "at most 10000000"),
        ("HashFunction,1_minute\nf,1,000\n", "line 2: '3 columns' is not allowed; the header has 2"),
        ("HashFunction,1_minute,2_minute\nf,1\n", "column 2_minute is missing"),
        ("HashFunction,1_minute\nf,1\nf,2\n", "line 3, column HashFunction: 'f'"),
        ("HashFunction,1_minute\n,1\n", "line 2, column HashFunction: ''"),
        ("HashFunction,1_minute,1_minute\nf,1,2\n", "line 1, column 1_minute: '1_minute'"),
        ("HashFunction,1_minute,2_minute,3_minute\nf" + ",9999999" * 3 + "\n", "trace.csv: requests: 29999997"),
        ("timestamp_seconds,model,model\n5,resnet,vgg\n", "line 1, column model: 'model'"),
        ("timestamp_seconds,model\n" + "9" * 50_000 + ",resnet\n", "'" + "9" * 80 + "...' is not allowed"),
        ("timestamp_seconds,model\n" + "9" * 200_000, "readable CSV file"),
        ("timestamp_seconds,model\n5,resnet\n4,vgg\n", "line 3, column timestamp_seconds: '4'"),
        ("timestamp_seconds,model\ninf,resnet\n", "line 2, column timestamp_seconds: 'inf'"),
        ("timestamp_seconds,model\n-1,resnet\n", "line 2, column timestamp_seconds: '-1'"),
        ("timestamp_seconds,model\n1700000000,resnet\n", "from the trace's start"),
        ("timestamp_seconds,model\n1,resnet\n2,alexnet\n", "trace.csv, line 3, column model: 'alexnet'"),
        ("timestamp_seconds,model\n", "holds no request"),
    ],
)
def test_a_wrong_trace_is_refused_with_its_place_and_what_is_allowed(tmp_path: Path, trace: str, words: str) -> None:
    out = tmp_path / "out.json"
    refused(run(tmp_path, trace, "--json", str(out)), words)
    assert not out.exists()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("resnet,,2.0,0.1", "profiles.csv, line 2, column size_mb_keras: ''"),
        ("resnet,nan,2.0,0.1", "line 2, column size_mb_keras: 'nan'"),
        ("resnet,10,-2.0,0.1", "line 2, column load_s_m5: '-2.0'"),
        ("resnet,10,2.0,inf", "line 2, column exec_s_m5: 'inf'"),
        ("resnet,10,2.0,0.1\nresnet,11,2.0,0.1", "line 3, column model: 'resnet'"),
        ("resnet,0,2.0,0.1", "above 0"),
        ("resnet,ten,2.0,0.1", "line 2, column size_mb_keras: 'ten'"),
    ],
)
def test_a_wrong_profile_is_refused_with_its_place_and_what_is_allowed(tmp_path: Path, line: str, words: str) -> None:
    header = "model,size_mb_keras,load_s_m5,exec_s_m5\n"
    refused(run(tmp_path, EVENTS, profiles=f"{header}{line}\n"), words)


def test_profiles_without_a_column_of_sizes_are_refused(tmp_path: Path) -> None:
    refused(run(tmp_path, EVENTS, profiles="model,load_s,exec_s\nresnet,2,1\n"), "line 1", "column size_mb_keras")


def test_an_assigned_model_without_a_profile_is_refused_with_its_place_in_the_assignment(tmp_path: Path) -> None:
    (tmp_path / "models.csv").write_text("HashFunction,draw\nf,resnet\ng,alexnet\n")
    result = run(tmp_path, MINUTES, "--assignment", f"{tmp_path / 'models.csv'}:draw")
    refused(result, "models.csv, line 3, column draw: 'alexnet'", "resnet, vgg")


def test_a_function_that_no_assignment_names_is_refused_with_where_it_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "models.csv").write_text("HashFunction,draw\nf,resnet\n")
    result = run(tmp_path, MINUTES, "--assignment", f"{tmp_path / 'models.csv'}:draw")
    refused(result, "trace.csv, line 3, column HashFunction: 'g'", f"a function of {tmp_path / 'models.csv'}")


@pytest.mark.parametrize(("column", "words"), [("", "FILE:COLUMN"), ("draw9", "needs a column draw9")])
def test_a_column_that_an_assignment_does_not_have_is_refused(tmp_path: Path, column: str, words: str) -> None:
    (tmp_path / "models.csv").write_text("HashFunction,draw\nf,resnet\n")
    refused(run(tmp_path, MINUTES, "--assignment", f"{tmp_path / 'models.csv'}:{column}"), words)


@pytest.mark.parametrize("name", ["binary", "folder", "none"])
def test_a_file_that_is_no_text_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    (tmp_path / "folder").mkdir()
    refused(run(tmp_path, EVENTS, "--trace", str(tmp_path / name)), str(tmp_path / name), "readable CSV file in UTF-8")


@pytest.mark.parametrize("option", [("--pods", "0"), ("--pods", "1e9"), ("--arrivals", "odd"), ("--seed", "-1")])
def test_an_option_out_of_its_range_is_refused_in_one_sentence(tmp_path: Path, option: tuple[str, str]) -> None:
    out = tmp_path / "out.json"
    result = run(tmp_path, EVENTS, *option, "--json", str(out))
    assert result.exit_code == 2
    assert len(result.output.strip().splitlines()) == 1
    assert all(word in result.output for word in option)
    assert not out.exists()


def test_a_budget_smaller_than_the_largest_model_is_refused_with_both_numbers(tmp_path: Path) -> None:
    refused(run(tmp_path, EVENTS, "--pod-memory", "15M"), "--pod-memory 15M", "15000000", "vgg alone needs 20000000")
    result = run(tmp_path, EVENTS, "--memory-fraction", "0.5")
    refused(result, "--memory-fraction 0.5", "vgg alone needs 20000000", "profiles.csv, line 3, column size_mb_keras")


@pytest.mark.parametrize("fraction", ["nan", "inf", "-1", "0", "1e308"])
def test_a_memory_fraction_that_is_no_fraction_is_refused(tmp_path: Path, fraction: str) -> None:
    refused(run(tmp_path, EVENTS, "--memory-fraction", fraction), "--memory-fraction")


def test_an_unknown_policy_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    refused(run(tmp_path, EVENTS, "--policy", "lru,arc"), "--policy: 'arc'", "cremebrulee-decay")


def test_no_file_is_written_when_one_of_them_cannot_be(tmp_path: Path) -> None:
    good, bad = tmp_path / "out.json", tmp_path / "none" / "out.csv"
    refused(run(tmp_path, EVENTS, "--json", str(good), "--csv", str(bad)), "--csv", "must exist")
    refused(run(tmp_path, EVENTS, "--json", str(good), "--plot", str(tmp_path / "out.doc")), ".png, .svg, .pdf")
    refused(run(tmp_path, EVENTS, "--json", str(good), "--csv", str(good)), "another file than that of --json")
    assert not good.exists()
