"""What can go wrong, named by what the caller does about it.

Every error has a machine-readable `code`, a `message` that says what to change, and `details`
(JSON-ready; `details["pointer"]` is a JSON pointer into the caller's document where there is one).
Add a class only for a new reaction of the caller; a new cause is a new `code`.
"""

from __future__ import annotations

from typing import Any


class FleetError(Exception):
    """Base of all expected failures."""

    def __init__(self, code: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.code}: {self.message})"


class InvalidRequest(FleetError):
    """The caller must change the request (HTTP 4xx)."""


class NotFound(FleetError):
    """The caller named something that is not there, or not theirs (404)."""


class Conflict(FleetError):
    """The entity is not in a state that allows this (409)."""


class Busy(FleetError):
    """The caller should try again after `retry_after` seconds (429 or 503)."""

    def __init__(self, code: str, message: str, retry_after: float, **details: Any) -> None:
        super().__init__(code, message, **details)
        self.retry_after = retry_after


class Retryable(FleetError):
    """The run should be tried again elsewhere: nothing is wrong with the job."""


class WorkerFault(Retryable):
    """The run should be tried again elsewhere, and this worker is suspect."""


class Permanent(FleetError):
    """The run would fail anywhere: the job fails with this."""


class Superseded(FleetError):
    """Somebody else owns this by now: drop your work, and whatever you wrote for it."""


class IllegalTransition(FleetError):
    """A bug in us: an entity was asked for a transition that its table does not have. Tells its last events."""
