"""The meter's HTTP side, on the standard library alone: it runs beside every Triton server and must stay small."""

import hmac
import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from larder.api.metering import READ_PATH, STREAM_PATH, Reading, encode
from larder.meter import processes

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.1
BUSY_SHARE: Final = 0.05
"""Of a core, at most: where looking takes longer, it is done less often."""
SAY_SECONDS: Final = 1.0
MOVED_BYTES: Final = 1024 * 1024
"""What moved by more is said at once."""
STALLED_SECONDS: Final = 5.0
"""A reader that takes nothing for so long is given up."""


@dataclass(slots=True)
class Meter:
    """Takes readings, each with the next number of its sequence."""

    look: Callable[[], list[processes.Process]] = processes.look
    kills: Callable[[], int | None] = processes.kills
    shared_bytes: Callable[[], int] = processes.shared_bytes
    own_container: str = ""
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self) -> Reading:
        """Look once."""
        with self._lock:
            number, now = next(self._numbers), time.time()
            # Kills last: a process that is gone from the list was counted among them before it went.
            seen = processes.uses(self.look(), self.own_container)
            return Reading(number, now, seen, self.shared_bytes(), self.kills())


def total_bytes(reading: Reading) -> int:
    """All that a reading counts."""
    return reading.shared_bytes + sum(use.total_bytes for use in reading.containers.values())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = STALLED_SECONDS
    meter: Meter
    token: bytes

    def do_GET(self) -> None:
        """Answer one reading, or readings without end."""
        if self.path == "/healthz":
            self._answer(HTTPStatus.OK, b"ok\n")
        elif not self._allowed():
            self._answer(HTTPStatus.UNAUTHORIZED, b"the meter needs the pool's token\n")
        elif self.path == READ_PATH:
            self._answer(HTTPStatus.OK, encode(self.meter.read()).encode() + b"\n")
        elif self.path == STREAM_PATH:
            self._stream()
        else:
            self._answer(HTTPStatus.NOT_FOUND, f"there are {READ_PATH} and {STREAM_PATH}\n".encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not worth a line each."""
        log.debug(format, *args)

    def _allowed(self) -> bool:
        offered = self.headers.get("Authorization", "").encode()
        return bool(self.token) and hmac.compare_digest(offered, b"Bearer " + self.token)

    def _answer(self, status: HTTPStatus, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if status is HTTPStatus.OK else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        self.close_connection = True
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Connection", "close")
        self.end_headers()
        said, said_seconds = -1, 0.0
        while True:
            began = time.monotonic()
            reading, now = self.meter.read(), time.monotonic()
            moved = abs(total_bytes(reading) - said) > MOVED_BYTES
            if moved or now - said_seconds >= SAY_SECONDS:
                try:
                    self.wfile.write(encode(reading).encode() + b"\n")
                except OSError:
                    return
                said, said_seconds = total_bytes(reading), now
            time.sleep(min(SAY_SECONDS, max(LOOK_SECONDS, (now - began) / BUSY_SHARE)))


def serve(meter: Meter, token: str, port: int, address: str = "") -> ThreadingHTTPServer:
    """Return the server, bound and not yet running; `serve_forever` runs it."""
    handler = type("Handler", (_Handler,), {"meter": meter, "token": token.encode()})
    server = ThreadingHTTPServer((address, port), handler)
    server.daemon_threads = True
    return server
