"""What is being worked on, by id: said once where the work begins, and told by every log line beneath it.

A task that is started inside inherits it, as it inherits every context variable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_NONE: Mapping[str, str] = {}
_ids: ContextVar[Mapping[str, str]] = ContextVar("ids", default=_NONE)


@contextmanager
def about(**ids: str) -> Iterator[None]:
    """The body is about these: request, job, run, worker."""
    token = _ids.set({**_ids.get(), **ids})
    try:
        yield
    finally:
        _ids.reset(token)


def current() -> Mapping[str, str]:
    """What is being worked on here."""
    return _ids.get()
