"""A workflow's three documents -> a checked Workflow, or a refusal that names file, line and JSON pointer.

One place for the registry and for `comfyfleet workflows validate`: nothing here needs a store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson
from blake3 import blake3

from orchestrator.controller.documents import Document, read_json, read_yaml
from orchestrator.controller.gating import workflow_gate
from orchestrator.controller.requests import Registration, conform, suggest
from orchestrator.domain.workflow import Binding, Workflow
from orchestrator.errors import InvalidRequest
from orchestrator.graph.bind import patch, resolve
from orchestrator.graph.catalog import Catalog
from orchestrator.graph.params import Schema
from orchestrator.graph.parse import parse
from orchestrator.graph.shape import Graph, pointer
from orchestrator.graph.validate import check_structure


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a workflow is registered from. `source` is the document that `spec` was read from."""

    spec: Registration
    source: Document
    graph: Document
    params: Document

    def inline(self) -> dict[str, Any]:
        """The body that registers it over HTTP."""
        written = self.spec.model_dump(mode="json", exclude_unset=True)
        return {**written, "graph": self.graph.value, "params": self.params.value}


def read_bundle(file: Path) -> Bundle:
    """From a YAML file; the paths in it are relative to it."""
    source = read_yaml(file)
    with source.telling():
        spec = conform(Registration, source.value, "invalid_registration")
    return Bundle(spec, source, _referenced(source, "graph", spec.graph), _referenced(source, "params", spec.params))


def inline_bundle(spec: Registration) -> Bundle:
    """From the body of a request, which holds the other two documents."""
    return Bundle(spec, Document(spec), Document(spec.graph, at="/graph"), Document(spec.params, at="/params"))


def check(bundle: Bundle, catalog: Catalog | None = None) -> Workflow:
    """The workflow, with its digest and without a version. The catalog is that of its pool, where one is known: only
    that tells which nodes are output nodes."""
    spec = bundle.spec
    with bundle.graph.telling():
        graph = parse(bundle.graph.value)
        check_structure(graph)
    _check_outputs(bundle, graph, catalog)
    with bundle.params.telling():
        schema = Schema(bundle.params.value)
    with bundle.source.telling(pointer("bind")):
        bind = resolve(graph, spec.bind)
    _check_bind(bundle, schema, bind)
    _check_defaults(bundle, schema, bind, graph)
    with bundle.source.telling(pointer("quality")):
        quality = workflow_gate(spec.quality, graph, bind, schema) if spec.quality else None
    _check_judged(bundle, graph, catalog)
    workflow = Workflow(
        name=spec.name, version=0, digest="", graph=graph, params=bundle.params.value, bind=bind,
        description=spec.description, outputs=spec.outputs, pool=spec.pool, timeout_s=float(spec.timeout_s),
        retries=spec.retries, priority=spec.priority, quality=quality,
    )  # fmt: skip
    return replace(workflow, digest=_digest(workflow))


def _referenced(source: Document, key: str, path: Any) -> Document:
    if not isinstance(path, str) or source.file is None:
        raise source.refuse("invalid_registration", f"{key} must be the path of a JSON file", pointer(key))
    with source.telling(pointer(key)):
        return read_json(source.file.parent / path)


def _check_outputs(bundle: Bundle, graph: Graph, catalog: Catalog | None) -> None:
    for n, node_id in enumerate(bundle.spec.outputs):
        if node_id not in graph:
            raise bundle.source.refuse(
                "invalid_registration", f"outputs names node {node_id!r}, which the graph does not have"
                f"{suggest(node_id, graph)}", pointer("outputs", n),
            )  # fmt: skip
        if not _may_output(graph[node_id]["class_type"], catalog):
            raise bundle.source.refuse(
                "invalid_registration", f"outputs names node {node_id!r}, whose class {graph[node_id]['class_type']} "
                "is not an output node", pointer("outputs", n),
            )  # fmt: skip
    if not any(_may_output(node["class_type"], catalog) for node in graph.values()):
        raise bundle.graph.refuse(
            "invalid_workflow", "the graph has no output node; add one, such as SaveImage, and export it again", ""
        )


def _check_judged(bundle: Bundle, graph: Graph, catalog: Catalog | None) -> None:
    """Scorers see what goes into a node, so it has to be one that shows or saves that."""
    for n, node_id in enumerate(bundle.spec.quality.images if bundle.spec.quality else ()):
        if not _may_output(graph[node_id]["class_type"], catalog):
            raise bundle.source.refuse(
                "invalid_quality", f"images names node {node_id!r}, whose class {graph[node_id]['class_type']} is not "
                "an output node: name one that saves pictures", pointer("quality", "images", n),
            )  # fmt: skip


def _may_output(class_type: str, catalog: Catalog | None) -> bool:
    """A class that the catalog does not know may come with a worker that joins later."""
    known = catalog.classes.get(class_type) if catalog else None
    return known is None or known.output_node


def _check_bind(bundle: Bundle, schema: Schema, bind: Mapping[str, Binding]) -> None:
    try:
        schema.check_bind(bind)
    except InvalidRequest as refusal:
        if refusal.details.pop("document") == "bind":
            with bundle.source.telling(pointer("bind")):
                raise
        with bundle.params.telling():
            raise


def _check_defaults(bundle: Bundle, schema: Schema, bind: Mapping[str, Binding], graph: Graph) -> None:
    """A default that the graph cannot take would fail every job that leaves its param out."""
    for param, said in schema.properties.items():
        if not isinstance(said, Mapping) or "default" not in said:
            continue
        try:
            check_structure(patch(graph, bind, {param: said["default"]}))
        except InvalidRequest as refusal:
            raise bundle.params.refuse(
                "invalid_schema", f"the default of {param} cannot be put into the graph: {refusal.message}",
                pointer("properties", param, "default"),
            ) from None  # fmt: skip


def _digest(workflow: Workflow) -> str:
    """Of the content alone, so that the same content is the same version."""
    content = asdict(workflow)
    for key in ("version", "digest", "created_at"):
        del content[key]
    return f"blake3:{blake3(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()}"
