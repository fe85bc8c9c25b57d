"""Registry: workflows and their versions, from a folder and over HTTP, compiled once for those who submit jobs.

Which version is active is remembered, not asked for each time: the store refuses a job whose version moved on
meanwhile, and the intake then asks here again after `moved`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.controller.catalogs import Catalogs
from orchestrator.controller.registration import Bundle, check, inline_bundle, read_bundle
from orchestrator.controller.requests import Registration
from orchestrator.domain.workflow import Workflow
from orchestrator.errors import InvalidRequest
from orchestrator.graph.params import Schema
from orchestrator.store.port import CatalogStore

MAX_COMPILED = 1000  # versions kept ready; the oldest goes first


@dataclass(frozen=True, slots=True)
class Compiled:
    """A version with what is costly to make from it."""

    workflow: Workflow
    schema: Schema
    seeds: Mapping[str, tuple[int, int]]  # what is drawn where a caller leaves it out: the least and the greatest

    def draws(self) -> dict[str, int]:
        """Such seeds, drawn."""
        return {param: low + secrets.randbelow(high - low + 1) for param, (low, high) in self.seeds.items()}


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a folder held: the versions that its good files have, and why the others were refused."""

    workflows: tuple[Workflow, ...]
    refused: tuple[InvalidRequest, ...]


class Registry:
    def __init__(self, store: CatalogStore, catalogs: Catalogs) -> None:
        self._store = store
        self._catalogs = catalogs
        self._active: dict[str, int] = {}
        self._compiled: dict[tuple[str, int], Compiled] = {}

    async def load_folder(self, folder: Path) -> Loaded:
        """Registers every *.yaml of the folder. One bad file does not keep the others out."""
        workflows: list[Workflow] = []
        refused: list[InvalidRequest] = []
        for file in sorted(folder.glob("*.yaml")):
            try:
                workflows.append(await self._register(read_bundle(file)))
            except InvalidRequest as refusal:
                refused.append(refusal)
        return Loaded(tuple(workflows), tuple(refused))

    async def register(self, spec: Registration) -> Workflow:
        """The version that has this content. Raises InvalidRequest with the pointer of what is wrong."""
        return await self._register(inline_bundle(spec))

    async def activate(self, name: str, version: int) -> Workflow:
        """Makes that version the one that new jobs get. Raises NotFound."""
        await self._store.activate(name, version)
        self._active[name] = version
        return (await self.compiled(name, version)).workflow

    async def compiled(self, name: str, version: int | None = None) -> Compiled:
        """That version; None: the active one, as far as is known here. Raises NotFound."""
        version = version or self._active.get(name)
        if version and (found := self._compiled.get((name, version))):
            return found
        workflow = await self._store.workflow(name, version)
        if version is None:
            self._active[name] = workflow.version
        return self._keep(workflow)

    def moved(self, name: str) -> None:
        """The active version of the workflow is not the one that is known here."""
        self._active.pop(name, None)

    async def _register(self, bundle: Bundle) -> Workflow:
        checked = check(bundle, await self._catalogs.of(bundle.spec.pool))
        workflow = await self._store.register_workflow(replace(checked, created_at=time.time()))
        self.moved(workflow.name)
        return self._keep(workflow).workflow

    def _keep(self, workflow: Workflow) -> Compiled:
        while len(self._compiled) >= MAX_COMPILED:
            del self._compiled[next(iter(self._compiled))]
        schema = Schema(workflow.params)
        compiled = Compiled(workflow, schema, schema.seeds(workflow.bind))
        self._compiled[workflow.name, workflow.version] = compiled
        return compiled
