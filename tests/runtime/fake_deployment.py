"""What Kubernetes does for the Triton Deployment of a stage: pods for its replicas, ready by their gate, and of pods
too many first those that are not ready, then those that cost least.
"""

import asyncio
from contextlib import asynccontextmanager, suppress

from larder.api import names
from tests.adapters.fake_triton import FakeModel

DEPLOYMENT = "pool-triton"


class FakeDeployment:
    """Plays its part while used by `playing`. `models` are in the repository of every pod that it makes."""

    def __init__(self, stage, *models, contrary=False, starts=True):
        self.stage, self.models, self.contrary, self.starts = stage, models, contrary, starts
        self.made, self.lowest = 0, None

    @asynccontextmanager
    async def playing(self):
        """Act until the end of the block."""
        task = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @property
    def replicas(self):
        """What is asked for."""
        found = self.stage.kube.find("deployments", DEPLOYMENT)
        return None if found is None else found["spec"]["replicas"]

    def pods(self):
        """The pods that are not going."""
        pods = [p for p in self.stage.kube.all("pods") if p["metadata"]["labels"][names.COMPONENT_LABEL] == "triton"]
        return [p for p in pods if "deletionTimestamp" not in p["metadata"]]

    async def _run(self):
        kube, seen = self.stage.kube, -1
        while True:
            with suppress(TimeoutError):
                await kube.until(lambda k, before=seen: k.history[-1][0] > before)
            seen = kube.history[-1][0]
            if self.replicas is not None:
                await self._match()

    async def _match(self):
        kube, pods = self.stage.kube, self.pods()
        for pod in [p for p in pods if _says(p, "Ready") != _says(p, names.SERVING_GATE)]:
            await kube.edit("pods", pod["metadata"]["name"], _make_ready(_says(pod, names.SERVING_GATE)))
        pods, asked = self.pods(), self.replicas
        await self._count(sum(_says(p, "Ready") for p in pods))
        self.lowest = min(len(pods), len(pods) if self.lowest is None else self.lowest)
        if len(pods) > asked:
            victim = sorted(pods, key=_order, reverse=self.contrary)[0]["metadata"]["name"]
            await kube.edit("pods", victim, lambda p: p["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z"))
        elif len(pods) < asked and self.starts:
            self.made += 1
            await self.stage.triton(f"new{self.made}", **{name: FakeModel() for name in self.models})

    async def _count(self, ready):
        found = self.stage.kube.find("deployments", DEPLOYMENT)
        status = {"observedGeneration": found["metadata"]["generation"], "readyReplicas": ready}
        if found.get("status") != status:
            await self.stage.kube.edit("deployments", DEPLOYMENT, lambda d: d.update(status=status))


def _says(pod, kind):
    conditions = pod["status"]["conditions"]
    return any(c["type"] == kind and c["status"] == "True" for c in conditions)


def _make_ready(ready):
    def change(pod):
        others = [c for c in pod["status"]["conditions"] if c["type"] != "Ready"]
        pod["status"]["conditions"] = [*others, {"type": "Ready", "status": str(ready)}]

    return change


def _order(pod):
    cost = pod["metadata"].get("annotations", {}).get(names.DELETION_COST_ANNOTATION, "0")
    return _says(pod, "Ready"), int(cost), pod["metadata"]["name"]
