"""`larder gateway`: what the containers of a gateway pod run."""

import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path

import click
import yaml

from larder.errors import LarderError


@click.group()
def gateway() -> None:
    """A pool's gateway (run in its pods)."""


@gateway.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Where to write Envoy's bootstrap.")
def bootstrap(out: Path) -> None:
    """Write Envoy's configuration."""
    from larder.gateway import envoy, settings  # noqa: PLC0415 (the larder command starts fast without)

    try:
        read = settings.read(os.environ)
    except LarderError as error:
        raise click.ClickException(str(error)) from error
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(yaml.safe_dump(envoy.bootstrap(read), sort_keys=False))
    if read.tls_dir is not None:
        read.run_dir.mkdir(parents=True, exist_ok=True)
        read.certificate_file.write_text(json.dumps(envoy.certificate(read)))


@gateway.command()
def run() -> None:
    """Run the activator until SIGTERM."""
    # Process 1 of a container ignores SIGTERM until it handles it, and the imports below take a second.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from larder.gateway import activator, settings  # noqa: PLC0415 (the larder command starts fast without)

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(activator.run(settings.read(os.environ)))
    except LarderError as error:
        raise click.ClickException(str(error)) from error
