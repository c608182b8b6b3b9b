"""The answers that are the gateway's own: an HTTP status, a gRPC code, a sentence, and perhaps a Retry-After."""

from math import ceil
from typing import Final

import grpc

from larder.errors import LarderError

NOT_RETRIED_HEADER: Final = "x-envoy-ratelimited"
"""On every answer of the activator: Envoy does not retry it, and takes it off."""
RETRY_AFTER_SECONDS: Final = 5.0


class RefusalError(LarderError):
    """A request that is answered here and not by Triton."""

    def __init__(
        self, status: int, code: grpc.StatusCode, message: str, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self._retry_after_seconds = retry_after_seconds

    @property
    def headers(self) -> dict[str, str]:
        """Headers (HTTP) or trailing metadata (gRPC) of the answer."""
        headers = {NOT_RETRIED_HEADER: "true"}
        if self._retry_after_seconds is not None:
            headers["retry-after"] = str(max(1, ceil(self._retry_after_seconds)))
        return headers


def unknown_model(model: str) -> RefusalError:
    """No Model declares this name."""
    message = f"Request for unknown model: '{model}' is not found: no Model of this pool declares it"
    return RefusalError(404, grpc.StatusCode.NOT_FOUND, message)


def unknown_call(what: str) -> RefusalError:
    """Not a call of the V2 protocol."""
    return RefusalError(404, grpc.StatusCode.UNIMPLEMENTED, f"{what} is not a call of the V2 inference protocol")


def wrong_method(method: str, path: str, allowed: str) -> RefusalError:
    """A known path with the wrong HTTP method."""
    return RefusalError(405, grpc.StatusCode.UNIMPLEMENTED, f"{method} {path} is not allowed; use {allowed}")


def forbidden(message: str) -> RefusalError:
    """An administrative call."""
    return RefusalError(403, grpc.StatusCode.PERMISSION_DENIED, message)


def malformed(message: str) -> RefusalError:
    """The request can't be read."""
    return RefusalError(400, grpc.StatusCode.INVALID_ARGUMENT, message)


def too_large(limit_bytes: int) -> RefusalError:
    """The body is over the pool's limit."""
    message = f"the request body is over this pool's limit of {limit_bytes} bytes (spec.gateway.bodyLimit)"
    return RefusalError(413, grpc.StatusCode.RESOURCE_EXHAUSTED, message)


def no_room(bound: str) -> RefusalError:
    """A bound on what is held is reached: `bound` is the pool's field that sets it."""
    message = f"this gateway holds as many waiting requests as it may, of this model or in all (spec.gateway.{bound})"
    return RefusalError(503, grpc.StatusCode.RESOURCE_EXHAUSTED, message, RETRY_AFTER_SECONDS)


def failed(model: str, reason: str, retry_after_seconds: float) -> RefusalError:
    """The model can't be had now, and it is known why."""
    message = f"model '{model}' is not available: {reason}"
    return RefusalError(503, grpc.StatusCode.UNAVAILABLE, message, retry_after_seconds)


def expired(model: str, held_seconds: float) -> RefusalError:
    """The model did not become ready in time."""
    message = f"model '{model}' did not become ready within {held_seconds:.1f} s; it may be loading still"
    return RefusalError(503, grpc.StatusCode.UNAVAILABLE, message, RETRY_AFTER_SECONDS)


def late(model: str, ready_in_seconds: float) -> RefusalError:
    """The model will not be ready in time for this request; it is loaded all the same."""
    message = f"model '{model}' is expected to be ready in {ready_in_seconds:.1f} s, too late for this request"
    return RefusalError(503, grpc.StatusCode.UNAVAILABLE, message, ready_in_seconds)


def deadly(model: str, times: int, reason: str) -> RefusalError:
    """The connection to the model's pod was lost each time that this request ran there."""
    message = f"model '{model}' was lost {times} times while it ran this request, which is not run again: {reason}"
    return RefusalError(500, grpc.StatusCode.INTERNAL, message)


def broken(model: str, reason: str) -> RefusalError:
    """The connection broke after the request of a stateful model was sent, which must not be repeated."""
    message = f"the pod that serves stateful model '{model}' was lost while it answered: {reason}"
    return RefusalError(503, grpc.StatusCode.UNAVAILABLE, message, RETRY_AFTER_SECONDS)


def broken_off(model: str, reason: str) -> RefusalError:
    """A pod was lost after it had answered a message of a stream in part."""
    message = f"the pod that serves model '{model}' was lost in the middle of an answer: {reason}"
    return RefusalError(503, grpc.StatusCode.UNAVAILABLE, message, RETRY_AFTER_SECONDS)


def going_away() -> RefusalError:
    """The gateway ends, and so does a stream that waits for nothing."""
    return RefusalError(503, grpc.StatusCode.UNAVAILABLE, "this gateway is going away; open the stream again")


def no_pod() -> RefusalError:
    """No Triton pod can answer for the pool."""
    return RefusalError(503, grpc.StatusCode.UNAVAILABLE, "no Triton pod of this pool is running", RETRY_AFTER_SECONDS)


def not_passed_on(error: BaseException) -> RefusalError:
    """Something failed on the way that nobody foresaw; its own words tell what."""
    message = f"the request could not be passed on: {str(error) or type(error).__name__}"
    return RefusalError(503, grpc.StatusCode.UNAVAILABLE, message, RETRY_AFTER_SECONDS)
