"""`workflows`: list, register, switch versions, and draft a registration from an exported graph."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
import yaml

from orchestrator.cli.client import ask
from orchestrator.cli.console import ago, emit_json, emit_table, out, seconds
from orchestrator.cli.options import DEFAULT_URL, AsJson, Url
from orchestrator.comfy.client import ComfyClient
from orchestrator.controller.documents import read_json
from orchestrator.controller.registration import Bundle, check, read_bundle
from orchestrator.domain.workflow import Workflow
from orchestrator.errors import InvalidRequest
from orchestrator.graph.catalog import Catalog
from orchestrator.graph.draft import draft
from orchestrator.graph.needs import needs
from orchestrator.graph.params import SEED_INPUTS
from orchestrator.graph.parse import parse

app = typer.Typer(help="List, register, validate and draft workflows.", invoke_without_command=True)

Name = Annotated[str, typer.Argument(help="The workflow's name.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="The workflow's YAML.")]


@app.callback()
def workflows(context: typer.Context, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Without a command: list them."""
    if context.invoked_subcommand is None:
        list_workflows(url, as_json)


@app.command("list")
def list_workflows(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List the registered workflows, each in its active version."""
    listed = ask(url, "GET", "/v1/workflows")
    if as_json:
        emit_json(listed)
        return
    rows = ((flow["name"], str(flow["version"]), flow["pool"], flow["description"]) for flow in listed["workflows"])
    emit_table(("workflow", "version", "pool", "description"), rows, empty="no workflows: register one from its YAML")


@app.command()
def show(name: Name, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show a workflow: its params, its policy, its versions."""
    flow = ask(url, "GET", f"/v1/workflows/{name}")
    if as_json:
        emit_json(flow)
        return
    out.print(f"{flow['name']}, version {flow['version']}: {flow['description']}", markup=False)
    policy = f"pool {flow['pool']}, priority {flow['priority']}, {flow['retries']} retries"
    out.print(f"{policy}, at most {seconds(flow['timeout_s'])} a run")
    required = set(flow["params"].get("required", ()))
    emit_table(
        ("param", "type", "default", "allowed", "goes to"),
        (
            _param_row(param, schema, flow["bind"].get(param), param in required)
            for param, schema in flow["params"].get("properties", {}).items()
        ),
        empty="it takes no params",
    )
    versions = ask(url, "GET", f"/v1/workflows/{name}/versions")
    emit_table(
        ("version", "", "registered", "digest"),
        (
            (str(v["version"]), "active" if v["active"] else "", ago(v["created_at"]), v["digest"][:23])
            for v in versions["workflows"]
        ),
        empty="it has no versions",
    )


@app.command()
def activate(
    name: Name,
    version: Annotated[int, typer.Argument(min=1, help="The version that new jobs shall get.")],
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Make a version the active one, forward or back."""
    flow = ask(url, "POST", f"/v1/workflows/{name}/activate", {"version": version})
    if as_json:
        emit_json(flow)
    else:
        out.print(f"{name}: version {version} is active")


@app.command()
def register(file: File, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Register a workflow with a running fleet; new content becomes its next version, and active."""
    bundle = _checked(file)[0]
    flow = ask(url, "POST", "/v1/workflows", bundle.inline())
    if as_json:
        emit_json(flow)
    else:
        state = (
            "active"
            if flow["active"]
            else f"not active; comfyfleet workflows activate {flow['name']} {flow['version']}"
        )
        out.print(f"{flow['name']}: version {flow['version']}, {state}")


@app.command()
def validate(file: File, as_json: AsJson = False) -> None:
    """Check a workflow's YAML, graph and schema, without a fleet."""
    workflow = _checked(file)[1]
    asked = needs(workflow.graph, None)
    if as_json:
        models = [{"folder": model.folder, "name": model.name} for model in asked.models]
        emit_json({"name": workflow.name, "digest": workflow.digest, "classes": asked.classes, "models": models})
        return
    out.print(f"{file}: {workflow.name} is valid: {len(workflow.graph)} nodes, {len(workflow.bind)} params")
    for model in asked.models:
        out.print(f"  needs {model.path}")


@app.command()
def init(
    graph: Annotated[Path, typer.Argument(metavar="GRAPH.json", help="A graph, exported with Export (API).")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where the draft goes.")] = Path(
        "workflows"
    ),
    comfyui: Annotated[
        str | None, typer.Option(metavar="URL", help="A ComfyUI that has the graph's nodes: offers its choices.")
    ] = None,
) -> None:
    """Draft a workflow from an exported graph: YAML and params schema, to be edited."""
    document = read_json(graph)
    with document.telling():
        parsed = parse(document.value)
    name = re.sub(r"[^a-z0-9._-]+", "-", graph.name.lower()).removesuffix(".json").removesuffix(".api").strip("-._")
    files = {kind: output / f"{name}.{kind}" for kind in ("yaml", "api.json", "schema.json")}
    for file in files.values():
        if file.exists() and not file.samefile(graph):
            raise InvalidRequest(
                "file_exists", f"{file} is there already: move it away, or name another folder with -o"
            )
    catalog = asyncio.run(_catalog(comfyui)) if comfyui else None
    registration, schema = draft(parsed, catalog, name, files["api.json"].name, files["schema.json"].name)
    output.mkdir(parents=True, exist_ok=True)
    files["api.json"].write_bytes(orjson.dumps(document.value, option=orjson.OPT_INDENT_2) + b"\n")
    files["schema.json"].write_bytes(orjson.dumps(schema, option=orjson.OPT_INDENT_2) + b"\n")
    files["yaml"].write_text(yaml.safe_dump(registration, sort_keys=False, allow_unicode=True, width=120))
    out.print(f"drafted {files['yaml']} with {len(schema['properties'])} params: {', '.join(schema['properties'])}")
    out.print(f"edit it and {files['schema.json'].name}, then: comfyfleet workflows register {files['yaml']}")


async def _catalog(url: str) -> Catalog:
    async with ComfyClient(url) as client:
        return Catalog.parse(orjson.loads(await client.object_info()))


def _checked(file: Path) -> tuple[Bundle, Workflow]:
    bundle = read_bundle(file)
    return bundle, check(bundle)


def _param_row(name: str, schema: Any, binding: dict[str, Any] | None, required: bool) -> tuple[str, ...]:
    kind = binding["kind"] if binding and binding["kind"] != "value" else str(schema.get("type", "any"))
    bounds = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    allowed = ", ".join(map(str, schema["enum"])) if "enum" in schema else " ".join(bounds)
    inputs = binding["inputs"] if binding else []
    return name, kind, _default(schema, required, inputs), allowed, ", ".join(inputs)


def _default(schema: Any, required: bool, inputs: list[str]) -> str:
    """What a param is when nobody says."""
    if "default" in schema:
        return repr(schema["default"])
    if required:
        return "required"
    return "drawn" if any(each.rpartition(".")[2] in SEED_INPUTS for each in inputs) else "-"
