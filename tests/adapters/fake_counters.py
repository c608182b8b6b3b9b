"""Triton's metrics over real HTTP: counters of each model that is in memory, also while it leaves."""

from dataclasses import dataclass

from aiohttp import web

from tests.adapters.serving import on_loopback

LOADED = ("READY", "UNLOADING")


@dataclass
class FakeCounters:
    """Shows the models of a fake Triton; `broken`: with an error instead; `late`: so many times, then no more."""

    models: dict
    broken: bool = False
    late: int = 0
    address: str = ""

    async def __aenter__(self):
        app = web.Application()
        app.router.add_get("/metrics", self._page)
        self._runner, self.address = await on_loopback(app)
        return self

    async def __aexit__(self, *exception):
        await self._runner.cleanup()

    async def _page(self, request):
        shown = [name for name, model in self.models.items() if model.state in LOADED]
        lines = ["# TYPE nv_inference_request_success counter"]
        lines += [f'nv_inference_request_success{{model="{name}",version="1"}} 0' for name in shown]
        # This one stays when a model has left.
        lines += [f'nv_inference_request_failure{{model="{name}",reason="OTHER"}} 0' for name in self.models]
        return web.Response(text="\n".join(lines) + "\n", status=500 if self._fails() else 200)

    def _fails(self):
        self.late -= 1
        return self.broken or self.late >= 0
