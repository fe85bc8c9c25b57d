"""Traces by OpenTelemetry: the one module that imports it (extra `otel`)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from orchestrator import __version__
from orchestrator.telemetry.traces import Attributes

_W3C = TraceContextTextMapPropagator()
_HEADER = "traceparent"
FLUSH_S = 3.0


def provider(endpoint: str, share: float, process: str) -> TracerProvider:
    """Sends spans to an OTLP collector over HTTP, in batches, from a thread of its own. `endpoint`: its base URL."""
    resource = Resource.create(
        {"service.name": "comfyfleet", "service.version": __version__, "service.instance.id": process}
    )
    made = TracerProvider(resource=resource, sampler=ParentBased(TraceIdRatioBased(share)), shutdown_on_exit=False)
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")))
    return made


def close(made: TracerProvider) -> None:
    """Sends what there is. OpenTelemetry would try for half a minute, and a collector that is away must not keep a
    controller from starting anew."""
    last = threading.Thread(target=made.shutdown, name="traces", daemon=True)
    last.start()
    last.join(FLUSH_S)


class OtelTracer:
    """Implements Tracer. What an exception says is left out, as it may quote a prompt; of which kind it was is told."""

    def __init__(self, made: TracerProvider) -> None:
        self._tracer = made.get_tracer("comfyfleet", __version__)

    @contextmanager
    def span(
        self, name: str, attributes: Attributes, parent: str | None, start: float | None, *, server: bool
    ) -> Iterator[None]:
        with self._tracer.start_as_current_span(
            name, _context(parent), SpanKind.SERVER if server else SpanKind.INTERNAL, _present(attributes),
            start_time=None if start is None else _ns(start), record_exception=False, set_status_on_exception=False,
        ) as span:  # fmt: skip
            try:
                yield
            except Exception as error:
                span.set_status(StatusCode.ERROR, type(error).__name__)
                raise

    def over(self, name: str, attributes: Attributes, parent: str | None, start: float, end: float) -> None:
        span = self._tracer.start_span(name, _context(parent), attributes=_present(attributes), start_time=_ns(start))
        span.end(_ns(max(start, end)))

    def note(self, attributes: Attributes) -> None:
        span = trace.get_current_span()
        span.set_attributes(_present(attributes))
        if attributes.get("error") is not None:
            span.set_status(StatusCode.ERROR, str(attributes["error"]))

    def traceparent(self) -> str | None:
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        return carrier.get(_HEADER)


def _context(parent: str | None) -> Context | None:
    """None: that of the span around. A traceparent that is none begins a trace of its own."""
    return None if parent is None else _W3C.extract({_HEADER: parent}, Context())


def _present(attributes: Attributes) -> Mapping[str, str | int | float | bool]:
    """Those that have a value, by names of ours unless they are those of OpenTelemetry's conventions."""
    return {key if "." in key else f"comfyfleet.{key}": value for key, value in attributes.items() if value is not None}


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
