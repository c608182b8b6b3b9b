"""What came of one request, and when it was cold. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """A request has failed unless the right answer arrived."""

    RIGHT = "right"
    WRONG = "wrong"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Request:
    """One request: its number is what it sends. `sent_at_seconds` is of the wall clock."""

    number: int
    model: str
    protocol: str
    sent_at_seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What a probe said: the number plus one, its name, which load on which pod it was, and since when it was there."""

    number: int
    model: str
    load: str
    pod: str
    since_seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """A request, and either its answer or a complaint."""

    request: Request
    latency_seconds: float
    answer: Answer | None = None
    complaint: str = ""

    @property
    def verdict(self) -> Verdict:
        """Whether the right value came from the right model."""
        if self.answer is None:
            return Verdict.FAILED
        right = self.answer.number == self.request.number + 1 and self.answer.model == self.request.model
        return Verdict.RIGHT if right else Verdict.WRONG

    @property
    def is_cold(self) -> bool:
        """Whether what answered was loaded only after the request was sent: no copy was ready for it."""
        return self.answer is not None and self.answer.since_seconds > self.request.sent_at_seconds

    def describe(self) -> str:
        """Return one line about a request that did not get its answer."""
        request = self.request
        said = self.complaint or f"answer {self.answer}"
        return (
            f"{self.verdict} request={request.number} model={request.model} {request.protocol} "
            f"sent_at={request.sent_at_seconds:.3f} after_s={self.latency_seconds:.3f}: {said}"
        )
