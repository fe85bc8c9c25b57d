"""Intake: from what a caller sent to one durable commit, or a refusal that says what to change.

Everything that could make a job fail later and can be known now is refused now: params, the graph against what the
pool's workers offer, assets that are not there. A job that gets in is complete: defaults and seeds filled in.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import orjson
from blake3 import blake3

from orchestrator.controller.catalogs import Catalogs
from orchestrator.controller.documents import moved
from orchestrator.controller.gating import first_candidates, gated
from orchestrator.controller.registry import Compiled, Registry
from orchestrator.controller.requests import GraphJob, JobOptions, WorkflowJob
from orchestrator.domain.asset import Asset
from orchestrator.domain.ids import uuid7
from orchestrator.domain.job import Job, JobSpec, JobStatus, Priority
from orchestrator.domain.run import QueueEntry, Run, RunState, Timings
from orchestrator.domain.workflow import Binding, ParamKind
from orchestrator.errors import Busy, Conflict, InvalidRequest, NotFound
from orchestrator.graph.bind import patch
from orchestrator.graph.catalog import Catalog
from orchestrator.graph.needs import needs
from orchestrator.graph.parse import parse
from orchestrator.graph.shape import Graph, pointer, show
from orchestrator.graph.stage import asset_ids, asset_place
from orchestrator.graph.validate import check_structure, validate
from orchestrator.store.port import Idempotency, Store, Submission
from orchestrator.store.port.clients import Posted
from orchestrator.telemetry import traces

log = logging.getLogger(__name__)

Keys = Mapping[str, str]  # by the name that they have in ComfyUI's extra_data
NO_KEYS: Keys = {}
_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_MOVES = 5  # how often the active version may move under one submission
_CONTENT = {
    ParamKind.IMAGE: "image/",
    ParamKind.MASK: "image/",
    ParamKind.VIDEO: "video/",
    ParamKind.AUDIO: "audio/",
}


@dataclass(frozen=True, slots=True)
class Accepted:
    """`created` is False when the same key and body had made the job before."""

    job: Job
    created: bool


class Intake:
    def __init__(self, store: Store, registry: Registry, catalogs: Catalogs) -> None:
        self._store = store
        self._registry = registry
        self._catalogs = catalogs

    async def submit_workflow(self, name: str, body: WorkflowJob, key: str | None = None) -> Accepted:
        """A job of a registered workflow, pinned to a version. Raises NotFound, InvalidRequest, Busy."""
        idempotency = _idempotency(key, f"workflow {name}", body)
        if idempotency and (job_id := await self._store.submitted(idempotency)):
            return Accepted(await self._store.job(job_id), created=False)
        for _ in range(_MOVES):
            compiled = await self._registry.compiled(name, body.version)
            try:
                return await self._submit_compiled(compiled, body, idempotency)
            except Conflict as conflict:
                if conflict.code != "workflow_moved":
                    raise
                self._registry.moved(name)
        raise Busy("workflow_moving", f"the active version of {name} keeps changing; try again", 1.0)

    async def submit_graph(
        self, body: GraphJob, key: str | None = None, *, once: bool = False, keys: Keys = NO_KEYS
    ) -> Accepted:
        """A job of a raw graph. `once`: the idempotency key may not be used again, with the same body neither. `keys`
        are those of other services, for its nodes. Raises InvalidRequest, Busy."""
        idempotency = _single_use(key) if once else _idempotency(key, "graph", body)
        if idempotency and (job_id := await self._store.submitted(idempotency)):
            return Accepted(await self._store.job(job_id), created=False)
        with _told_from(pointer("workflow")):
            graph = parse(body.workflow)
        _check_outputs(graph, body.outputs)
        with _told_from(pointer("workflow")):
            await self._assets(graph)
            catalog = await self._check(graph, body.pool, body.outputs)
        spec = _spec(
            body, pool=body.pool, priority=body.priority or Priority.NORMAL, timeout_s=body.timeout_s,
            retries=body.retries, outputs=body.outputs,
        )  # fmt: skip
        return await self._commit(spec, graph, catalog, f"graph:{_shape(graph)}", idempotency, keys=keys)

    async def submit_posted(
        self, spec: JobSpec, graph: Graph, catalog: Catalog, posted: Posted, keys: Keys = NO_KEYS
    ) -> Accepted:
        """A job that was posted to ComfyUI's own API, and checked already. Raises Busy, Conflict("job_exists"), and
        InvalidRequest("missing_asset")."""
        await self._assets(graph)
        return await self._commit(spec, graph, catalog, f"graph:{_shape(graph)}", None, posted=posted, keys=keys)

    async def _submit_compiled(
        self, compiled: Compiled, body: WorkflowJob, idempotency: Idempotency | None
    ) -> Accepted:
        workflow = compiled.workflow
        with _told_from(pointer("params")):
            params = compiled.schema.complete(body.params, compiled.draws())
            graph = patch(workflow.graph, workflow.bind, params)
        judged = gated(workflow, body, graph, compiled.schema)
        if judged is not None:
            graph = judged.graph
        spec = _spec(
            body, pool=workflow.pool, priority=body.priority or workflow.priority, timeout_s=workflow.timeout_s,
            retries=workflow.retries, outputs=workflow.outputs, workflow=workflow.name, version=workflow.version,
            params=params, gate=judged and judged.gate,
        )  # fmt: skip
        with _told_of_params(f"{workflow.name} version {workflow.version}", workflow.bind):
            catalog = await self._check(graph, workflow.pool, spec.targets)
            assets = await self._assets(graph)
        _check_kinds(workflow.bind, params, assets)
        profile = f"{workflow.name}@{workflow.version}"
        return await self._commit(spec, graph, catalog, profile, idempotency, if_active=body.version is None)

    async def _check(self, graph: Graph, pool: str, outputs: Sequence[str]) -> Catalog | None:
        """The catalog that the graph is valid against; None: no worker of the pool is known, so only the structure
        of the graph could be checked."""
        catalog = await self._catalogs.of(pool) or await self._catalogs.fresh(pool)
        if catalog is None:
            check_structure(graph)
            return None
        try:
            validate(graph, catalog, outputs)
        except InvalidRequest:
            newer = await self._catalogs.fresh(pool)  # a worker may have joined that can do it
            if newer is None or newer is catalog:
                raise
            validate(graph, newer, outputs)
            return newer
        return catalog

    async def _assets(self, graph: Graph) -> Mapping[str, Asset]:
        """The assets that the graph names, whose retention begins anew."""
        ids = asset_ids(graph)
        if not ids:
            return {}
        found = await asyncio.gather(*map(self._store.asset, ids), return_exceptions=True)
        for asset_id, asset in zip(ids, found, strict=True):
            if isinstance(asset, NotFound):
                message = f"there is no asset {show(asset_id)}: upload the file to POST /v1/assets first"
                raise InvalidRequest("missing_asset", message, pointer=asset_place(graph, asset_id))
            if isinstance(asset, BaseException):
                raise asset
        return {asset.id: asset for asset in found if isinstance(asset, Asset)}

    async def _commit(
        self, spec: JobSpec, graph: Graph, catalog: Catalog | None, profile: str, idempotency: Idempotency | None,
        *, if_active: bool = False, posted: Posted | None = None, keys: Keys = NO_KEYS,
    ) -> Accepted:  # fmt: skip
        run_id = _new_id()
        entry = QueueEntry(
            run_id, spec.id, 1, spec.pool, spec.priority.value, spec.created_at, profile,
            needs(graph, catalog, spec.targets), tenant=spec.tenant,
            deadline_s=None if spec.deadline_at is None else spec.deadline_at - spec.created_at,
        )  # fmt: skip
        more = first_candidates(spec.gate, secrets.randbelow)
        if traces.on():
            spec = replace(spec, traceparent=traces.traceparent())
        submission = Submission(spec, graph, entry, idempotency, more, if_active=if_active, posted=posted, secrets=keys)
        with traces.span("submit", {"job": spec.id, "workflow": spec.workflow, "pool": spec.pool}):
            submitted = await self._store.submit(submission)
        if submitted.created:
            log.info(
                "job %s accepted", submitted.job_id,
                extra={"job": submitted.job_id, "run": run_id, "profile": profile, "tenant": spec.tenant},
            )  # fmt: skip
        if submitted.created_at is None or spec.gate is not None:
            return Accepted(await self._store.job(submitted.job_id), submitted.created)
        run = Run(run_id, spec.id, 0, 1, RunState.QUEUED, Timings(submitted.created_at))
        return Accepted(Job(spec.dated(submitted.created_at), JobStatus.QUEUED, (run,)), created=True)


def _spec(body: JobOptions, **rest: Any) -> JobSpec:
    now = time.time()  # the store puts its own clock in place of ours
    deadline_at = None if body.deadline_s is None else now + body.deadline_s
    return JobSpec(
        id=_new_id(), created_at=now, metadata=body.metadata, deadline_at=deadline_at, tenant=body.tenant, **rest
    )


def _new_id() -> str:
    return uuid7(time.time_ns() // 1_000_000, secrets.randbits(74))


def _idempotency(key: str | None, target: str, body: JobOptions) -> Idempotency | None:
    if key is None:
        return None
    sent = body.model_dump(mode="json", exclude_unset=True)
    canonical = orjson.dumps([target, sent], option=orjson.OPT_SORT_KEYS)
    return Idempotency(_checked(key), blake3(canonical).hexdigest())


def _single_use(key: str | None) -> Idempotency | None:
    """No other submission has its fingerprint. Where it begins tells it from keys that may be used again."""
    return None if key is None else Idempotency(f"\t{_checked(key)}", secrets.token_hex(16))


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise InvalidRequest("invalid_idempotency_key", "an Idempotency-Key is 1 to 255 printable ASCII characters")
    return key


def _shape(graph: Graph) -> str:
    """Equal for graphs of the same classes, which take similar times."""
    classes = Counter(str(node["class_type"]) for node in graph.values())
    return blake3(orjson.dumps(classes, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _check_outputs(graph: Graph, outputs: Sequence[str]) -> None:
    for n, node_id in enumerate(outputs):
        if node_id not in graph:
            raise InvalidRequest(
                "unknown_output", f"outputs names {show(node_id)}, and the graph has no such node",
                pointer=pointer("outputs", n),
            )  # fmt: skip


def _check_kinds(bind: Mapping[str, Binding], params: Mapping[str, Any], assets: Mapping[str, Asset]) -> None:
    for param, binding in bind.items():
        wanted = _CONTENT.get(binding.kind)
        asset = assets.get(str(params.get(param))) if wanted else None
        if wanted and asset and not asset.content_type.startswith(wanted):
            raise InvalidRequest(
                "invalid_params", f"{param} takes {wanted}* files, and {asset.id} ({asset.name}) is "
                f"{asset.content_type}", pointer=pointer("params", param),
            )  # fmt: skip


@contextmanager
def _told_from(place: str) -> Iterator[None]:
    """Refusals raised inside speak of a part of the body; here they are told from its root."""
    try:
        yield
    except InvalidRequest as refusal:
        if refusal.code == "unknown_output":
            raise  # that points into the body's `outputs` already
        raise InvalidRequest(refusal.code, refusal.message, **moved(refusal.details, place)) from None


@contextmanager
def _told_of_params(workflow: str, bind: Mapping[str, Binding]) -> Iterator[None]:
    """A caller of a workflow knows its params and not its graph: a refusal of an input is told of the param that was
    put there."""
    try:
        yield
    except InvalidRequest as refusal:
        place = refusal.details.get("pointer")
        for param, binding in bind.items():
            if place in {pointer(node_id, "inputs", name) for node_id, name in binding.inputs}:
                details = {**refusal.details, "pointer": pointer("params", param)}
                code = "invalid_params" if refusal.code == "invalid_workflow" else refusal.code
                raise InvalidRequest(code, f"{param}: {refusal.message}", **details) from None
        raise InvalidRequest(refusal.code, f"workflow {workflow}: {refusal.message}", **refusal.details) from None
