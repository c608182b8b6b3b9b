"""Writing annotations on a pod: bound to one version of it and to the leader's term, whoever writes which."""

from typing import Protocol

from larder.adapters.kube.client import MERGE_PATCH
from larder.adapters.kube.resources import PODS, Resource
from larder.api.residency import term_of
from larder.api.resources import Manifest
from larder.errors import KubernetesError
from larder.runtime.leadership import Fence, NotLeadingError
from larder.runtime.pods import PodView, parse_pod


class Pods(Protocol):
    """Where annotations are written."""

    async def get(self, resource: Resource, namespace: str, name: str) -> Manifest:
        """Return a pod."""

    async def patch(
        self, resource: Resource, target: tuple[str, str], body: Manifest, kind: str, part: str = ""
    ) -> Manifest:
        """Patch a pod."""


async def annotate(pods: Pods, fence: Fence, view: PodView, annotations: Manifest) -> None:
    """Merge annotations into a pod; once more at the version that it has moved to.

    Raises KubernetesError (404 where the name is another pod's now), UnavailableError, and NotLeadingError where a
    later leader wrote on the pod.
    """
    try:
        await _patch(pods, fence, view, annotations)
    except KubernetesError as error:
        if error.status != 409:
            raise
        present = parse_pod(await pods.get(PODS, view.namespace, view.name))
        if present.uid != view.uid:
            raise KubernetesError(404, "NotFound", f"{view.name} is another pod now") from error
        await _patch(pods, fence, present, annotations)


async def _patch(pods: Pods, fence: Fence, view: PodView, annotations: Manifest) -> None:
    if max(term_of(view.retiring), term_of(view.residency)) > fence.term:
        raise NotLeadingError(f"a later leader wrote on {view.name}")
    fence.check()
    body = {"metadata": {"resourceVersion": view.version, "annotations": annotations}}
    await pods.patch(PODS, (view.namespace, view.name), body, MERGE_PATCH)
