"""The process that atheris runs: instrumentation has to come before the parsers are imported."""

import sys

import atheris

with atheris.instrument_imports(
    include=["larder.gateway.protocol", "larder.gateway.stream_protocol", "larder.gateway.wire"]
):
    from larder.gateway import protocol, stream_protocol, wire  # noqa: F401

from tests.fuzz.parsers import read

atheris.Setup(sys.argv, read)
atheris.Fuzz()
