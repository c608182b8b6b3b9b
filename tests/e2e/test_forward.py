import sys
from pathlib import Path

import pytest

from e2e.forward import forward
from larder.errors import UnavailableError


def kubectl(folder: Path, script: str) -> list[str]:
    program = folder / "kubectl.py"
    program.write_text(script)
    return [sys.executable, str(program)]


def test_the_local_ports_are_those_that_kubectl_prints(tmp_path: Path) -> None:
    lines = r"Forwarding from 127.0.0.1:41001 -> 8000\nForwarding from 127.0.0.1:41002 -> 8001"
    program = kubectl(tmp_path, f"import time\nprint('{lines}', flush=True)\ntime.sleep(60)")
    with forward(program, "demo", "service/pool", (8000, 8001)) as ports:
        assert ports == {8000: 41001, 8001: 41002}


def test_kubectls_own_words_say_why_there_is_no_forwarding(tmp_path: Path) -> None:
    program = kubectl(tmp_path, "exit('error: services \"pool\" not found')")
    with pytest.raises(UnavailableError, match='services "pool" not found'), forward(program, "demo", "x", (8000,)):
        pass
