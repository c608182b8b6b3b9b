"""What a Triton pod says that it serves."""

from collections.abc import Mapping
from typing import Any

from larder.api.names import RESIDENCY_ANNOTATION
from larder.api.residency import decode


def served(pod: Mapping[str, Any]) -> frozenset[str]:
    """Return the models that the pod's annotation says it may be sent requests for; none once it is to go."""
    text = pod["metadata"].get("annotations", {}).get(RESIDENCY_ANNOTATION)
    if text is None or "deletionTimestamp" in pod["metadata"]:
        return frozenset()
    return decode(text).routable
