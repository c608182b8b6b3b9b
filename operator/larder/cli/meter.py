"""`larder meter`: what the meter beside a Triton server runs."""

import logging
import os
from pathlib import Path

import click

from larder.api import names
from larder.errors import LarderError


@click.command()
def meter() -> None:
    """Say what memory a Triton pod's processes take (run in its pods)."""
    from larder.api.environment import text  # noqa: PLC0415 (the larder command starts fast without)
    from larder.meter import processes, server  # noqa: PLC0415 (as above)

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        token = text(os.environ, "LARDER_DEMAND_TOKEN")
    except LarderError as error:
        raise click.ClickException(str(error)) from error
    own = processes.container_of(Path("/proc/self/cgroup").read_text())
    server.serve(server.Meter(own_container=own), token, names.METER_PORT).serve_forever()
