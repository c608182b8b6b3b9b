"""Coverage-guided input for what reads a client's bytes: only InvalidInputError may come out, and it reads in time.

Needs atheris (in the dev extra, where it has a wheel); without it the command says so and ends well.

    python -m tests.fuzz.parsers --runs 200000
"""

import contextlib
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from larder.errors import InvalidInputError
from tests.fuzz import corpus
from tests.fuzz.corpus import Rpc

TARGET = "tests.fuzz.parsers_target"
SECONDS_A_RUN = 5


def seeds(folder):
    """Write a few hundred payloads as the corpus to begin with."""
    for number, payload in enumerate(corpus.payloads(7, 400)):
        parts = payload.messages if isinstance(payload, Rpc) else payload.pieces
        (folder / f"{number}").write_bytes(b"".join(parts)[:4096])


def read(data):
    """Give the bytes to every parser."""
    from larder.gateway import protocol, stream_protocol, wire  # noqa: PLC0415 (instrumented by the target)

    for parse in (
        lambda: protocol.parse_http("POST", data.decode("latin-1")),
        lambda: [protocol.parse_grpc(method, data) for method in ("ModelInfer", "ModelStatistics", "ModelReady")],
        lambda: protocol.grpc_timeout_seconds(data),
        lambda: protocol.http_timeout_seconds(data, None),
        lambda: protocol.http_timeout_seconds(data, len(data) // 2),
        lambda: stream_protocol.parse_message(data),
        lambda: stream_protocol.parse_answer(data),
        lambda: list(wire.fields(data)),
    ):
        with contextlib.suppress(InvalidInputError):
            parse()


@click.command()
@click.option("--runs", default=200_000, show_default=True)
def main(runs):
    """Run the fuzzer in a process of its own, which it needs."""
    if importlib.util.find_spec("atheris") is None:
        print("fuzz-parsers: skipped: atheris is not installed here")
        return
    with tempfile.TemporaryDirectory(prefix="parsers") as name:
        folder = Path(name)
        seeds(folder)
        options = [f"-atheris_runs={runs}", f"-timeout={SECONDS_A_RUN}", "-max_len=4096", "-print_final_stats=1", name]
        done = subprocess.run([sys.executable, "-m", TARGET, *options], stderr=subprocess.PIPE, text=True, check=False)
    print(done.stderr[-3000:] if done.returncode else done.stderr[done.stderr.rfind("#") :].strip())
    print(f"fuzz-parsers: runs={runs} crashes={int(done.returncode != 0)}")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
