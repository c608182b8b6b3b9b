"""Where the gateway's CPU goes: instructions of Envoy for one hot request, counted by valgrind's callgrind.

Counts are the same however busy the machine is, so they tell small differences that times do not. They are of user
space only: what the kernel does for a request is the same in all ways (as many system calls). From a plain Envoy to the
pool's, one part more at a time: retries, an empty Lua filter, the filter as it is, the clusters as they are.

    python -m benchmarks.gateway_instructions
"""

import contextlib
import copy
import itertools
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import gateway_parts as parts
from benchmarks.gateway import MODEL, PROTOCOLS, http_header, loads, url_at
from benchmarks.gateway_load import Load, send
from larder.errors import UnavailableError
from larder.gateway import envoy

Config = dict[str, Any]

SIZE_BYTES: Final = 1_024
WARM: Final = 60
EMPTY: Final = "function envoy_on_request(handle) end\nfunction envoy_on_response(handle) end\n"
START_SECONDS: Final = 180.0
CONTROL_SECONDS: Final = 120.0


@click.command()
@click.option("--requests", "count", default=400, show_default=True, help="Requests counted of each kind.")
def main(count: int) -> None:
    """Count, and print what each part adds."""
    parts.need("h2load", "nghttp2-client")
    parts.need("valgrind", "valgrind")
    with tempfile.TemporaryDirectory(prefix="larder-bench-") as name:
        found = measure(Path(name), count)
    Console(highlight=False).print(table(found))


def ways(pool: Config, plain: Config) -> dict[str, Config]:
    """Return the configurations by name, each with one part more than the one before."""
    straight = _straight(pool, plain)
    return {
        "plain": plain,
        "with retries": _without_filter(copy.deepcopy(straight)),
        "with an empty filter": _with_filter(copy.deepcopy(straight), EMPTY),
        "with the filter": straight,
        "pool": pool,
    }


def measure(folder: Path, count: int) -> dict[str, dict[str, int]]:
    """Return the instructions of one request by way and protocol."""
    chosen = [load for load in loads(folder) if load.size_bytes == SIZE_BYTES and load.clients == 1]
    settings = parts.pool_settings(folder)
    configs = ways(envoy.bootstrap(settings), parts.plain_config(settings))
    world = {"models": [MODEL], "pods": {parts.TRITON: [MODEL]}}
    found: dict[str, dict[str, int]] = {}
    with ExitStack() as stack:
        stack.enter_context(parts.triton(folder, MODEL))
        stack.enter_context(parts.activator(settings, world, folder))
        for way, config in track(list(configs.items()), "Ways"):
            with counted(config, folder) as counter:
                found[way] = {load.protocol: counter.of(load, count) for load in chosen}
    return found


class Counter:
    """An Envoy under callgrind."""

    def __init__(self, process: parts.Process, output: Path) -> None:
        self._process = process
        self._output = output
        self._dumps = 0

    def of(self, load: Load, count: int) -> int:
        """Return the instructions of one request."""
        self._send(load, WARM)
        self._control("--zero")
        self._control("--instr=on")
        self._send(load, count)
        self._control("--instr=off")
        self._control("--dump")
        self._dumps += 1
        lines = Path(f"{self._output}.{self._dumps}").read_text().splitlines()
        total = next(line for line in lines if line.startswith("totals: "))
        return int(total.split()[1]) // count

    @staticmethod
    def _send(load: Load, count: int) -> None:
        send(load, url_at(load, parts.POOL), count, len(http_header(load.size_bytes)))

    def _control(self, option: str) -> None:
        argv = ["callgrind_control", option, str(self._process.popen.pid)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=CONTROL_SECONDS)
        if "OK" not in done.stdout:
            raise UnavailableError(f"{' '.join(argv)}: {done.stdout} {done.stderr}")


@contextlib.contextmanager
def counted(config: Config, folder: Path) -> Iterator[Counter]:
    """Run this Envoy under callgrind, which counts nothing yet, until it answers."""
    path, output, log = folder / "envoy.json", folder / "callgrind.out", folder / "envoy.log"
    path.write_text(json.dumps(config))
    # The program itself: under the package's script callgrind would count Python.
    binary = str(resources.files("envoy").joinpath("_bin", "envoy"))
    argv = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={output}"]
    argv += ["--smc-check=all-non-file", binary, "-c", str(path), "--disable-hot-restart", "--concurrency", "1"]
    with parts.running([*argv, "-l", "warning"], log) as process:
        ready = f"http://{parts.POOL}:8000/v2/models/{MODEL}/ready"
        parts.until_answered(ready, process, log, START_SECONDS)
        yield Counter(process, output)
    for dump in folder.glob("callgrind.out*"):
        dump.unlink()


def _managers(config: Config) -> list[tuple[str, Config]]:
    return [
        (listener["name"], listener["filter_chains"][0]["filters"][0]["typed_config"])
        for listener in config["static_resources"]["listeners"]
    ]


def _straight(pool: Config, plain: Config) -> Config:
    """The pool's configuration, but every request goes to the plain Envoy's clusters."""
    config = copy.deepcopy(pool)
    config["static_resources"]["clusters"] += plain["static_resources"]["clusters"]
    for protocol, manager in _managers(config):
        for route in manager["route_config"]["virtual_hosts"][0]["routes"]:
            route["route"]["cluster"] = protocol
    return config


def _without_filter(config: Config) -> Config:
    for _, manager in _managers(config):
        manager["http_filters"] = manager["http_filters"][-1:]
    return config


def _with_filter(config: Config, code: str) -> Config:
    for _, manager in _managers(config):
        manager["http_filters"][0]["typed_config"]["default_source_code"] = {"inline_string": code}
    return config


def table(found: Mapping[str, Mapping[str, int]]) -> Table:
    """Return one row for each way: instructions of a request, and those over a plain Envoy's."""
    shown = Table(box=None, header_style="")
    shown.add_column("instructions of a request")
    for protocol in PROTOCOLS:
        shown.add_column(protocol, justify="right")
        shown.add_column("over plain", justify="right")
    for way, counts in found.items():
        cells = [(f"{counts[name]:,}", f"{counts[name] - found['plain'][name]:+,}") for name in PROTOCOLS]
        shown.add_row(way, *itertools.chain(*cells))
    return shown


if __name__ == "__main__":
    main()
