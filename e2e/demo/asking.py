"""Asking a pool with unmodified Triton clients, over HTTP and gRPC in turn."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from e2e.demo.questions import INPUTS, Question
from larder.api.names import GRPC_PORT, HTTP_PORT

TIMEOUT_SECONDS: Final = 40.0
"""Longer than the pool holds a request of a cold model, so that the pool's own answer is seen."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: a label and its score, or the complaint; after how long, over which protocol."""

    question: Question
    protocol: str
    latency_seconds: float
    label: str | None
    score: float | None = None
    complaint: str | None = None

    @property
    def is_right(self) -> bool:
        """Whether the label is the right one."""
        return self.label == self.question.right


class Asker:
    """Clients of one pool. `local_ports` are where the ports of its Service are reached on this machine."""

    def __init__(self, local_ports: Mapping[int, int]) -> None:
        timeout_seconds = TIMEOUT_SECONDS
        self._http = tritonclient.http.InferenceServerClient(
            f"127.0.0.1:{local_ports[HTTP_PORT]}",
            connection_timeout=timeout_seconds,
            network_timeout=timeout_seconds,
        )
        self._grpc = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{local_ports[GRPC_PORT]}")
        self._asked = 0

    def ask(self, question: Question) -> Answer:
        """Ask, and return the answer or what was complained of; never raises for the pool's part."""
        protocol = ("HTTP", "gRPC")[self._asked % 2]
        self._asked += 1
        started = time.monotonic()
        try:
            result = self._infer(protocol, question)
        except (InferenceServerException, OSError) as error:
            return Answer(question, protocol, time.monotonic() - started, None, complaint=str(error))
        latency_seconds = time.monotonic() - started
        label = result.as_numpy("LABEL")[0].decode()
        return Answer(question, protocol, latency_seconds, label, float(result.as_numpy("SCORE")[0]))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
        self._grpc.close()

    def _infer(self, protocol: str, question: Question) -> Any:
        library = tritonclient.http if protocol == "HTTP" else tritonclient.grpc
        content = library.InferInput(INPUTS[question.model], [1], "BYTES")
        content.set_data_from_numpy(np.array([question.content], dtype=np.object_))
        if protocol == "HTTP":
            return self._http.infer(question.model, [content])
        return self._grpc.infer(question.model, [content], client_timeout=TIMEOUT_SECONDS)
