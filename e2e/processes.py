"""Ending a program that we started: asked first, killed if that does not help."""

import subprocess


def end(process: "subprocess.Popen[bytes]", timeout_seconds: float) -> None:
    """End it and wait until it is gone; one that has ended already is fine."""
    process.terminate()
    try:
        process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
