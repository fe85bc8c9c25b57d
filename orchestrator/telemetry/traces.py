"""Traces: one a job, from its request through the queue, its worker and its nodes to the delivery of what it made.

A job carries the context of its request in the store as a W3C traceparent; whoever works on it goes on from there, in
whatever process. Spans tell ids and classes of nodes, never params. As with logs, whoever does something says so here,
and the process decides whether anybody listens: while nobody does, a span is one comparison and OpenTelemetry need not
be installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

Attributes = Mapping[str, str | int | float | bool | None]

_NO_ATTRIBUTES: Attributes = {}
_NOTHING = nullcontext()


class Tracer(Protocol):
    """Whoever listens; see otel.py. Times are Unix seconds."""

    def span(
        self, name: str, attributes: Attributes, parent: str | None, start: float | None, *, server: bool
    ) -> AbstractContextManager[object]: ...
    def over(self, name: str, attributes: Attributes, parent: str | None, start: float, end: float) -> None: ...
    def note(self, attributes: Attributes) -> None: ...
    def traceparent(self) -> str | None: ...


_listener: Tracer | None = None


@contextmanager
def told_to(tracer: Tracer) -> Iterator[None]:
    """Has spans be told to it in the body, by the whole process."""
    global _listener  # noqa: PLW0603 - like the root logger, it is the process's
    before, _listener = _listener, tracer
    try:
        yield
    finally:
        _listener = before


def on() -> bool:
    """Whether anybody listens."""
    return _listener is not None


def span(
    name: str, attributes: Attributes = _NO_ATTRIBUTES, *, parent: str | None = None, start: float | None = None,
    server: bool = False,
) -> AbstractContextManager[object]:  # fmt: skip
    """The body is a part of the trace: of `parent`, a traceparent, else of the span around it. It began at `start`,
    else now. `server`: it is the answer to a request."""
    return _NOTHING if _listener is None else _listener.span(name, attributes, parent, start, server=server)


def over(
    name: str, start: float, end: float, attributes: Attributes = _NO_ATTRIBUTES, *, parent: str | None = None
) -> None:
    """The same, of what is over already."""
    if _listener is not None:
        _listener.over(name, attributes, parent, start, end)


def note(attributes: Attributes) -> None:
    """Adds to what the span around tells."""
    if _listener is not None:
        _listener.note(attributes)


def traceparent() -> str | None:
    """Of the span around, to be carried to whoever goes on; None where there is none."""
    return None if _listener is None else _listener.traceparent()


def trace_id() -> str | None:
    """Of the span around, for log lines."""
    carried = traceparent()
    return carried.split("-")[1] if carried else None
