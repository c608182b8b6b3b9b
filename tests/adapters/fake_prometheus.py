"""A Prometheus over real HTTP that knows the counters of gateways: samples of series, by minute."""

import asyncio
import re
import time

from aiohttp import web

from tests.adapters.serving import on_loopback


class FakePromSeries:
    """One scraped counter: its labels, and its value at each time in seconds."""

    def __init__(self, samples, **labels):
        self.samples = dict(samples)
        self.labels = {"instance": "10.0.0.1:9102", "pod": "pool-gateway-1-a", **labels}


class FakePrometheus:
    """`series` is what it scraped; `answer`, where set, is what it says instead: (status, text)."""

    def __init__(self, series=(), token=None, now=None):
        self.series, self.token, self.answer = list(series), token, None
        self.now = time.time() if now is None else now
        self.queries, self.hangs = [], None

    async def __aenter__(self):
        app = web.Application()
        app.router.add_get("/api/v1/query", self._query)
        app.router.add_get("/api/v1/query_range", self._range)
        self._runner, address = await on_loopback(app)
        self.url = f"http://{address}"
        return self

    async def __aexit__(self, *exception):
        if self.hangs is not None:
            self.hangs.set()
        await self._runner.cleanup()

    async def _query(self, request):
        if refused := await self._refused(request):
            return refused
        query = request.query["query"]
        if query == "time()":
            return _success("scalar", [self.now, str(self.now)])
        assert query.startswith("time() - max(timestamp(")
        newest = max((at for one in self.series for at in one.samples), default=None)
        found = [] if newest is None else [{"metric": {}, "value": [self.now, str(self.now - newest)]}]
        return _success("vector", found)

    async def _range(self, request):
        if refused := await self._refused(request):
            return refused
        start, end, step = (int(request.query[name]) for name in ("start", "end", "step"))
        fresh = int(re.search(r"\[(\d+)s\]", request.query["query"])[1])
        found = []
        for one in self.series:
            values = [[at, text] for at in range(start, end + 1, step) if (text := _newest(one, at, fresh)) is not None]
            if values:
                found.append({"metric": one.labels, "values": values})
        return _success("matrix", found)

    async def _refused(self, request):
        self.queries.append(request.query["query"])
        if self.hangs is not None:
            await self.hangs.wait()
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401, text="no token")
        if self.answer is not None:
            return web.Response(status=self.answer[0], text=self.answer[1])
        return None

    def hang(self):
        """From now on it takes requests and does not answer."""
        self.hangs = asyncio.Event()


def _newest(one, at, fresh):
    """The newest sample of the last so many seconds, as text; None: none."""
    found = [when for when in one.samples if at - fresh < when <= at]
    return str(one.samples[max(found)]) if found else None


def _success(kind, result):
    return web.json_response({"status": "success", "data": {"resultType": kind, "result": result}})
