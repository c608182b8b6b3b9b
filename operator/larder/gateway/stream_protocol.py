"""The messages of ModelStreamInfer as far as a gateway reads them, without I/O.

Triton marks every answer that came from a model with parameter `triton_final_response`; an error that it gives before
the model runs has none and is the only answer. A decoupled model says that it is through with a request only where
parameter `triton_enable_empty_final_response` asks for it: so it is always asked for, and kept from a client that
did not ask.
"""

import re
from dataclasses import dataclass
from typing import Final

from tritonclient.grpc import service_pb2

from larder.gateway import wire
from larder.gateway.protocol import grpc_timeout_seconds

_MODEL, _ID, _PARAMETERS = 1, 3, 4
_ERROR, _ANSWER = 1, 2
_OUTPUTS: Final = frozenset({5, 6})
_ASKS: Final = "triton_enable_empty_final_response"
_FINAL: Final = b"triton_final_response"
_BOOLEAN: Final = 1
_NOT_THERE: Final = re.compile(r"Request for unknown model: .* is not (found|at ready state)$")


@dataclass(frozen=True, slots=True)
class Message:
    """One request of a stream. `wants_end`: the client asked for an empty final answer."""

    model: str
    id: str
    wants_end: bool
    timeout_seconds: float | None


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a stream. `final`: none follows for its request. `empty`: it has no output.

    `before_the_model`: an error that Triton gave by itself; the request did not run.
    """

    id: str
    error: str
    final: bool
    empty: bool
    before_the_model: bool

    @property
    def not_there(self) -> bool:
        """Whether it says that the model is not loaded."""
        return self.before_the_model and _NOT_THERE.match(self.error) is not None


def parse_message(body: bytes) -> Message:
    """Read a ModelInferRequest. Raises InvalidInputError."""
    texts = {_MODEL: "", _ID: ""}
    for field, kind, value in wire.fields(body):
        if field in texts and kind == wire.BYTES:
            texts[field] = wire.text(value)
    wants_end = any(
        key == _ASKS.encode() and wire.integer(v, _BOOLEAN) for key, v in wire.parameters(body, _PARAMETERS)
    )
    return Message(texts[_MODEL], texts[_ID], wants_end, grpc_timeout_seconds(body))


def parse_answer(body: bytes) -> Answer:
    """Read a ModelStreamInferResponse. Raises InvalidInputError."""
    error, identity, final, empty = "", "", None, True
    for field, kind, value in wire.fields(body):
        if field == _ERROR and kind == wire.BYTES:
            error = bytes(value).decode(errors="replace")
        elif field == _ANSWER and kind == wire.BYTES:
            identity, final, empty = _inner(value)
    before_the_model = bool(error) and final is None
    return Answer(identity, error, before_the_model or bool(final), empty, before_the_model)


def _inner(answer: memoryview) -> tuple[str, bool | None, bool]:
    identity, final, empty = "", None, True
    for field, kind, value in wire.fields(answer):
        if field == _ID and kind == wire.BYTES:
            identity = wire.text(value)
        empty = empty and field not in _OUTPUTS
    for key, value in wire.parameters(answer, _PARAMETERS):
        if key == _FINAL:
            final = bool(wire.integer(value, _BOOLEAN))
    return identity, final, empty


def asking_for_the_end(body: bytes) -> bytes:
    """Return the message with the parameter that asks for an empty final answer: of two, the last one counts."""
    return body + _ASKING


def error(message: Message, sentence: str) -> bytes:
    """Return the answer that says why a message has none, as Triton says it."""
    answer = service_pb2.ModelStreamInferResponse(error_message=sentence)
    answer.infer_response.id = message.id
    return bytes(answer.SerializeToString())


def _asking() -> bytes:
    request = service_pb2.ModelInferRequest()
    request.parameters[_ASKS].bool_param = True
    return bytes(request.SerializeToString())


_ASKING: Final = _asking()
