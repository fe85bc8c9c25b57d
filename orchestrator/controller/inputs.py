"""Inputs: files called by a path in ComfyUI's folders, as clients of ComfyUI's own API call theirs.

There is no such folder: a path is a name for an asset, and a graph that names one gets the asset itself, at the moment
in which it is posted. Whoever uploads twice under one path gets, from then on, what came last; but where several do,
each from a machine of its own, each finds its own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from orchestrator.delivery.keys import asset_key
from orchestrator.delivery.storage import Storage
from orchestrator.domain.asset import Asset, Output, asset_id
from orchestrator.domain.job import Job
from orchestrator.errors import NotFound
from orchestrator.graph.catalog import Catalog
from orchestrator.graph.shape import Graph, asset
from orchestrator.graph.specs import Kind
from orchestrator.store.port import Store

FOLDERS = ("input", "output", "temp")
PREFIX = "fleet"  # below it, and below a job's id, is what the job made
_ANNOTATED = re.compile(r"(.*?) ?\[(input|output|temp)\]")


class Inputs:
    def __init__(self, store: Store, storage: Storage) -> None:
        self._store = store
        self._storage = storage

    async def name(self, path: str, content: Asset, peer: str, *, replace: bool) -> str:
        """Calls the asset so, or, where something else has the name and is not to be replaced, by the next name that is
        free: "a.png", "a (1).png", ... Answers the path that it has."""
        wanted = PurePosixPath(path)
        number = 0
        while await self._store.name_input(path, content.id, replace=replace) != content.id:
            number += 1
            path = str(wanted.with_name(f"{wanted.stem} ({number}){wanted.suffix}"))
        await self._store.name_input(_own(peer, path), content.id, replace=True)
        return path

    async def find(self, path: str, peer: str) -> Asset | None:
        """What is called so."""
        own, common = await self._store.inputs_named([_own(peer, path), path])
        for found in (own, common):
            if found is not None:
                try:
                    return await self._store.asset(found)
                except NotFound:
                    continue  # it lapsed, and its name means nothing any more
        return None

    async def output(self, path: str) -> tuple[Job, Output] | None:
        """The output that a job left there; None: there is none, or not yet."""
        folder, *below = PurePosixPath(path).parts
        if len(below) < 3 or below[0] != PREFIX:
            return None
        try:
            job = await self._store.job(below[1])
        except NotFound:
            return None
        within = "/".join(below[2:-1])
        places = {f"{folder}/{within}".rstrip("/")} | {
            f"{folder}/{PREFIX}/{run.id}/{within}".rstrip("/") for run in job.runs
        }
        for output in job.outputs:
            if output.name == below[-1] and (output.place or "").rstrip("/") in places:
                return job, output
        return None

    async def names(self, folder: str) -> list[str]:
        """Of what was uploaded into that folder, sorted."""
        paths = await self._store.input_names()
        return sorted(path.removeprefix(f"{folder}/") for path in paths if path.startswith(f"{folder}/"))

    async def resolve(self, graph: Graph, catalog: Catalog, peer: str) -> Graph:
        """The graph with assets in place of names; what is no name of ours is left as it is."""
        resolved = dict(graph)
        for node_id, input_name, said in _named(graph, catalog):
            found = await self._asset(said, peer)
            if found is not None:
                node = resolved[node_id]
                resolved[node_id] = {**node, "inputs": {**node["inputs"], input_name: asset(found.id)}}
        return resolved

    async def _asset(self, said: str, peer: str) -> Asset | None:
        path = located(said)
        if (found := await self.find(path, peer)) is not None:
            return found
        made = await self.output(path)
        return await self._adopt(made[1]) if made else None

    async def _adopt(self, output: Output) -> Asset:
        """An output becomes an input: the same bytes, with a retention of their own."""
        digest = output.hash.removeprefix("blake3:")
        data = self._storage.read(output.path, end=output.size_bytes)
        await self._storage.put(asset_key(digest), data, output.content_type)
        return await self._store.put_asset(
            Asset(
                asset_id(digest), output.hash, output.size_bytes, output.content_type, output.name, time.time(),
                output.width, output.height,
            )
        )  # fmt: skip


def located(said: str, folder: str = "input", subfolder: str = "") -> str:
    """The path that a client means by "sub/name.png [output]"; `folder` and `subfolder` where the name does not say."""
    if annotated := _ANNOTATED.fullmatch(said):
        said, folder = annotated[1], annotated[2]
    parts = [part for part in f"{subfolder}/{said}".replace("\\", "/").split("/") if part not in ("", ".")]
    return "/".join([folder, *parts])


def _own(peer: str, path: str) -> str:
    return f"{peer}\n{path}"


def _named(graph: Graph, catalog: Catalog) -> Iterator[tuple[str, str, str]]:
    """Inputs that name a file: node id, input, what it says."""
    for node_id, node in graph.items():
        spec = catalog.classes.get(node["class_type"])
        values: Mapping[str, Any] = node["inputs"]
        for name, wanted in spec.inputs.given(values).specs.items() if spec else ():
            if wanted.kind is Kind.FILE and isinstance(value := values.get(name), str):
                yield node_id, name, value
