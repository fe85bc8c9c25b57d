"""Postings: what clients post to ComfyUI's own API, made into jobs.

A job keeps the id, the place in the queue and the words that its client knows it by. As in ComfyUI, output nodes that
could not execute are left out and told, as long as one is left that can.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.controller.catalogs import Catalogs
from orchestrator.controller.inputs import Inputs
from orchestrator.controller.intake import Intake
from orchestrator.domain.job import JobSpec, Origin, Priority
from orchestrator.errors import InvalidRequest
from orchestrator.graph.catalog import Catalog
from orchestrator.graph.parse import parse
from orchestrator.graph.shape import Graph, reachable
from orchestrator.graph.validate import validate
from orchestrator.store.port.clients import Posted

POOL = "default"
TIMEOUT_S = 86_400.0  # ComfyUI has none; what hangs is found by its silence
RETRIES = 2


@dataclass(frozen=True, slots=True)
class Posting:
    """As it came. `targets`: the only output nodes that are wanted."""

    id: str
    origin: Origin
    prompt: Any
    targets: tuple[str, ...] | None = None
    extra_data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    keys: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)  # of other services, for its nodes


@dataclass(frozen=True, slots=True)
class Dropped:
    """What is wrong with the output nodes that are left out. `problems` are JSON-ready (see graph/problems.py)."""

    graph: Graph
    problems: Sequence[Mapping[str, Any]] = ()
    outputs: tuple[str, ...] = ()

    def dependent(self, node_id: str) -> list[str]:
        """The output nodes that are left out because of a node."""
        return [output for output in self.outputs if node_id in reachable(self.graph, [output])]


class Refused(Exception):
    """No output node is left, for this reason."""

    def __init__(self, error: InvalidRequest, dropped: Dropped) -> None:
        super().__init__(error.message)
        self.error = error
        self.dropped = dropped


class Postings:
    def __init__(self, intake: Intake, catalogs: Catalogs, inputs: Inputs) -> None:
        self._intake = intake
        self._catalogs = catalogs
        self._inputs = inputs

    async def submit(self, posting: Posting) -> Dropped:
        """Raises Refused, Busy, and Conflict("job_exists")."""
        try:
            posted = parse(posting.prompt)
        except InvalidRequest as error:
            raise Refused(error, Dropped({})) from None
        catalog = await self._catalogs.of(POOL) or await self._catalogs.fresh(POOL) or Catalog({})
        graph = await self._inputs.resolve(posted, catalog, posting.origin.peer)
        try:
            outputs, dropped = _outputs(graph, catalog, posting.targets)
        except Refused:
            newer = await self._catalogs.fresh(POOL)  # a worker may have joined that can do it
            if newer is None or newer is catalog:
                raise
            catalog = newer
            graph = await self._inputs.resolve(posted, catalog, posting.origin.peer)
            outputs, dropped = _outputs(graph, catalog, posting.targets)
        every = catalog.output_nodes(graph)
        spec = JobSpec(
            id=posting.id, pool=POOL, priority=Priority.HIGH if posting.origin.number < 0 else Priority.NORMAL,
            timeout_s=TIMEOUT_S, retries=RETRIES, created_at=time.time(), origin=posting.origin,
            outputs=() if outputs == every else tuple(outputs),
        )  # fmt: skip
        shown = Posted(posted, tuple(outputs), posting.extra_data)
        await self._intake.submit_posted(spec, graph, catalog, shown, posting.keys)
        return dropped


def _outputs(graph: Graph, catalog: Catalog, targets: Sequence[str] | None) -> tuple[list[str], Dropped]:
    """The output nodes that can execute, in the order of the graph. Raises Refused when none can."""
    if not catalog.classes:  # no worker has ever joined: whoever does will say
        return list(targets or ()), Dropped(graph)
    wanted = [node for node in catalog.output_nodes(graph) if targets is None or node in targets]
    try:
        validate(graph, catalog, wanted)
    except InvalidRequest as error:
        return _good(graph, catalog, wanted, error)
    if not wanted:
        message = "none of partial_execution_targets is an output node of the prompt"
        error = InvalidRequest("invalid_workflow", message, node_errors=[{"code": "prompt_no_outputs", "message": ""}])
        raise Refused(error, Dropped(graph))
    return wanted, Dropped(graph)


def _good(graph: Graph, catalog: Catalog, wanted: Sequence[str], error: InvalidRequest) -> tuple[list[str], Dropped]:
    good: list[str] = []
    problems: dict[str, Mapping[str, Any]] = {}
    for output in wanted:
        try:
            validate(graph, catalog, [output])
            good.append(output)
        except InvalidRequest as refusal:
            problems |= {repr(problem): problem for problem in refusal.details.get("node_errors", ())}
    bad = tuple(output for output in wanted if output not in good)
    dropped = Dropped(graph, list(problems.values()), bad)
    if not good:
        raise Refused(error, dropped)
    return good, dropped
