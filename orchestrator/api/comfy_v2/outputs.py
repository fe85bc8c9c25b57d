"""Outputs under /api/v2: each is an asset with an id of its own, and can be the input of another job."""

from __future__ import annotations

import time

from orchestrator.api.comfy_v2.views import named_output
from orchestrator.api.services import Services
from orchestrator.delivery.keys import asset_key
from orchestrator.domain.asset import Asset, Output, asset_id
from orchestrator.domain.job import Job
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.graph.parse import parse
from orchestrator.graph.shape import Graph, pointer
from orchestrator.graph.stage import asset_ids, asset_place, reassigned


class Outputs:
    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._storage = services.storage

    async def find(self, named: str) -> tuple[Job, int, Output] | None:
        """The output with that id, its job and its index there; None where it is no output's. Raises NotFound."""
        place = named_output(named)
        if place is None:
            return None
        job_id, n = place
        try:
            job = await self._store.job(job_id)
        except NotFound as error:
            raise NotFound("asset_not_found", f"there is no asset {named}: {error.message}") from None
        if n >= len(job.outputs):
            raise NotFound("asset_not_found", f"job {job_id} is {job.status} and has {len(job.outputs)} outputs")
        return job, n, job.outputs[n]

    async def taken_in(self, workflow: object) -> Graph | None:
        """The graph with the outputs that it names as uploaded assets, which outlive their job; None: it names none.

        Raises InvalidRequest("missing_asset").
        """
        try:
            graph = parse(workflow)
            names = asset_ids(graph)
        except InvalidRequest:
            return None  # the intake has refused that, and said where it is
        found: dict[str, tuple[Job, int, Output]] = {}
        for named in names:
            try:
                if output := await self.find(named):
                    found[named] = output
            except NotFound as error:
                place = pointer("workflow") + asset_place(graph, named)
                raise InvalidRequest("missing_asset", error.message, pointer=place) from None
        if not found:
            return None
        return reassigned(graph, {named: await self._take_in(output) for named, (_, _, output) in found.items()})

    async def _take_in(self, output: Output) -> str:
        content = self._storage.read(output.path, end=output.size_bytes)
        stored = await self._storage.put(asset_key(output.hash), content, output.content_type)
        asset = Asset(
            asset_id(stored.hash.removeprefix("blake3:")), stored.hash, stored.size_bytes, output.content_type,
            output.name, time.time(), output.width, output.height,
        )  # fmt: skip
        return (await self._store.put_asset(asset)).id
