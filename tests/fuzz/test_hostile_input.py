"""Hostile payloads crash nothing, leave nothing hanging, and are answered with a status that is documented."""

import subprocess
import sys

import pytest

SHORT = ("--payloads", "10000", "--names", "5000", "--idle", "1000", "--no-slow")


@pytest.mark.timeout(170)
def test_a_gateway_stands_ten_thousand_hostile_payloads():
    done = subprocess.run([sys.executable, "-m", "tests.fuzz", *SHORT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("fuzz: payloads=")
    assert "crashes=0 stuck=0 undocumented=0" in last
