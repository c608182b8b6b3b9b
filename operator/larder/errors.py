"""The one error tree. Adapters translate third-party exceptions into these (`raise ... from`)."""


class LarderError(Exception):
    """Anything that Larder itself raises."""


class InvalidInputError(LarderError):
    """Input from outside is wrong; the message names the field, the value and what is allowed."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(f"{field}: {value!r} is not allowed; {allowed}")
        self.field = field
        self.value = value
        self.allowed = allowed


class UnavailableError(LarderError):
    """A peer (API server, Triton, Prometheus, a gateway) could not be reached or did not answer in time."""


class KubernetesError(LarderError):
    """The API server answered with an error. `status` is its HTTP status."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason

    @property
    def namespace_ends(self) -> bool:
        """Whether nothing can be made because the namespace is being deleted."""
        return self.status == 403 and "is being terminated" in str(self)


class NameTakenError(LarderError):
    """An object of somebody else has a name that Larder needs; the message says which, and what to do."""


class TritonError(LarderError):
    """Triton refused a call. `reason` is its own sentence, fit for a condition."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class MetricsError(LarderError):
    """Prometheus gave no data that can be used. `reason` is one of the condition MetricsAvailable."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
