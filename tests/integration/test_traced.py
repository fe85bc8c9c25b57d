"""One trace a job, over a whole fleet: request, submission, queue, run, nodes, delivery, verdict."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from aiohttp import web

from orchestrator import telemetry
from orchestrator.errors import InvalidRequest
from orchestrator.simulator.comfyui.faults import Fault, Kind
from orchestrator.store.redis import RedisStore
from orchestrator.telemetry import otel, traces
from tests.fixtures.comfyui import StartSim
from tests.fixtures.driving import node, picture, sampled
from tests.fixtures.watched import register
from tests.fixtures.whole import StartWhole

pytest.importorskip("opentelemetry.sdk", reason="needs OpenTelemetry: pip install 'comfyfleet[otel]'")
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from orchestrator.telemetry.otel import OtelTracer

THEIRS = "0af7651916cd43dd8448eb211c80319c"
INCOMING = {"traceparent": f"00-{THEIRS}-b7ad6b7169203331-01"}
SECRET = "a heron at dawn, for nobody else's eyes"


class Spans:
    """What has been told so far."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def all(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all() if span.name == name]

    async def once(self, name: str, count: int = 1) -> list[ReadableSpan]:
        """Those of a name, when there are so many: a job is over a moment before its run's span is."""
        async with asyncio.timeout(30):
            while len(found := self.named(name)) < count:
                await asyncio.sleep(0.01)
        return found


@pytest.fixture
def spans() -> Iterator[Spans]:
    told = Spans()
    with traces.told_to(OtelTracer(told.provider)):
        yield told
    told.provider.shutdown()


def parent(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


async def test_a_job_is_one_trace_that_goes_on_from_its_senders(
    whole: StartWhole, sim_comfyui: StartSim, spans: Spans, store: RedisStore
) -> None:
    fleet = await whole(workers={"w1": (await sim_comfyui(step_seconds=0.01)).url})
    graph = {**sampled(steps=3), "6": node("CLIPTextEncode", text=SECRET, clip=["4", 1])}
    job = await fleet.client.post("/v1/jobs", {"workflow": graph}, INCOMING)
    assert (await fleet.ended(job["id"]))["status"] == "succeeded"

    [run] = await spans.once("run")
    [request], [submit], [queue] = (spans.named(name) for name in ("POST /v1/jobs", "submit", "queue"))
    [stage], [execute], [deliver] = (spans.named(name) for name in ("stage", "execute", "deliver"))
    assert {span.context.trace_id for span in spans.all()} == {int(THEIRS, 16)}
    assert parent(request) == int("b7ad6b7169203331", 16)
    assert {parent(span) for span in (submit, queue, run)} == {request.context.span_id}
    assert {parent(span) for span in (stage, execute, deliver)} == {run.context.span_id}
    nodes = [span for span in spans.all() if parent(span) == execute.context.span_id]
    assert Counter(span.name for span in nodes) == Counter(node["class_type"] for node in graph.values())
    assert request.attributes["http.response.status_code"] == 202
    assert (run.attributes["comfyfleet.job"], run.attributes["comfyfleet.worker"]) == (job["id"], "w1")
    assert run.attributes["comfyfleet.outcome"] == "done"
    assert queue.end_time == run.start_time
    carried = (await store.job(job["id"])).spec.traceparent
    assert carried == f"00-{THEIRS}-{request.context.span_id:016x}-01"
    assert run.start_time <= execute.start_time <= execute.end_time <= run.end_time
    assert SECRET not in "".join(span.to_json() for span in spans.all())


async def test_a_run_that_is_tried_again_is_in_the_same_trace_and_says_what_went_wrong(
    whole: StartWhole, sim_comfyui: StartSim, spans: Spans
) -> None:
    sim = await sim_comfyui(faults=(Fault(Kind.DISK_FULL),))
    fleet = await whole(workers={"w1": sim.url})
    job = await fleet.ended(await fleet.submit(picture(), retries=1))
    assert job["status"] == "succeeded"
    lost, done = await spans.once("run", 2)
    assert [span.attributes["comfyfleet.attempt"] for span in (lost, done)] == [1, 2]
    assert lost.context.trace_id == done.context.trace_id
    assert (lost.status.description, done.status.description) == ("worker_disk_full", None)


async def test_candidates_and_their_verdict_are_in_the_trace_of_their_job(
    whole: StartWhole, sim_comfyui: StartSim, spans: Spans
) -> None:
    fleet = await whole(workers={"w1": (await sim_comfyui()).url})
    await register(fleet.client)
    job = await fleet.client.post("/v1/workflows/judged/jobs", {"params": {"color": 0x00FF00}})
    await fleet.ended(job["id"])
    verdict = (await spans.once("judge"))[-1]
    [request] = spans.named("POST /v1/workflows/{name}/jobs")
    assert {parent(span) for span in await spans.once("run", 2)} == {request.context.span_id}
    assert parent(verdict) == request.context.span_id
    assert verdict.attributes["comfyfleet.job"] == job["id"]


async def test_jobs_that_bring_no_trace_have_each_their_own(
    whole: StartWhole, sim_comfyui: StartSim, spans: Spans
) -> None:
    fleet = await whole(workers={"w1": (await sim_comfyui()).url})
    for color in (1, 2):
        await fleet.ended(await fleet.submit(picture(color)))
    runs = await spans.once("run", 2)
    assert len({span.context.trace_id for span in runs}) == 2


async def test_nothing_is_carried_while_nobody_listens(
    whole: StartWhole, sim_comfyui: StartSim, store: RedisStore
) -> None:
    fleet = await whole(workers={"w1": (await sim_comfyui()).url})
    job = await fleet.client.post("/v1/jobs", {"workflow": picture()}, INCOMING)
    assert (await store.job(job["id"])).spec.traceparent is None


async def test_a_collector_is_sent_the_spans(
    whole: StartWhole, sim_comfyui: StartSim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")  # ms from a span's end to its batch
    names: asyncio.Queue[str] = asyncio.Queue()

    async def collect(request: web.Request) -> web.Response:
        for resource in ExportTraceServiceRequest.FromString(await request.read()).resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    names.put_nowait(span.name)
        return web.Response(content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/traces", collect)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        fleet = await whole(workers={"w1": (await sim_comfyui()).url}, traces={"endpoint": endpoint})
        await fleet.ended(await fleet.submit(picture()))
        async with asyncio.timeout(30):
            while await names.get() != "run":
                pass
    finally:
        await runner.cleanup()


async def test_a_collector_that_does_not_answer_keeps_nobody_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otel, "FLUSH_S", 0.1)
    asked, answer = asyncio.Event(), asyncio.Event()

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await answer.wait()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        provider = otel.provider(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", 1.0, "test")
        with traces.told_to(OtelTracer(provider)), traces.span("run"):
            pass
        await asyncio.to_thread(otel.close, provider)
        trying = [thread for thread in threading.enumerate() if thread.name == "traces"]
        await asked.wait()
        assert trying
        server.close()  # what it tries again is refused
        answer.set()
        for thread in trying:
            await asyncio.to_thread(thread.join)


async def test_what_is_asked_to_trace_without_opentelemetry_says_what_to_install(
    whole: StartWhole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(telemetry, "otel")
    monkeypatch.setitem(sys.modules, "orchestrator.telemetry.otel", None)
    with pytest.raises(InvalidRequest, match=r"pip install 'comfyfleet\[otel\]'"):
        await whole(workers={}, traces={"endpoint": "http://127.0.0.1:4318"})


def test_a_fleet_that_is_not_traced_does_without_what_traces_it() -> None:
    look = "import sys, orchestrator.build; sys.exit('orchestrator.telemetry.otel' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0
