"""The larder command finds its commands, and loads none that is not asked for."""

import subprocess
import sys

from click.testing import CliRunner

from larder.cli import COMMANDS, main


def test_every_command_is_listed_with_its_first_line() -> None:
    shown = CliRunner().invoke(main, ["--help"])
    assert shown.exit_code == 0
    assert all(f"\n  {name} " in shown.output for name in COMMANDS)


def test_an_unknown_command_is_refused_by_name() -> None:
    refused = CliRunner().invoke(main, ["simulat"])
    assert refused.exit_code == 2
    assert refused.output.endswith(": No such command 'simulat'.\n")
    assert len(refused.output.splitlines()) == 1


def test_a_gateway_starts_without_what_only_the_simulator_needs() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from larder.cli import main;"
        "CliRunner().invoke(main, ['gateway', 'bootstrap']); sys.exit('numpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
