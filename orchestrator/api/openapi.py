"""The OpenAPI 3.1 document, made from the route table and the models that parse the requests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode
from typing_extensions import TypedDict

from orchestrator import __version__
from orchestrator.api.errors import STATUS
from orchestrator.api.fleet.views.describe import described
from orchestrator.api.routes import Answer, Route

_PLACE = re.compile(r"{(\w+)}")
_BODY_CODES = (
    "duplicate_key", "invalid_json", "invalid_request", "json_too_deep", "nul_character", "unreadable_body",
    "body_too_large", "body_too_slow", "too_many_values", "unsupported_encoding", "unsupported_media_type",
)  # fmt: skip
_STORE_CODES = ("store_unavailable",)

Schemas = Mapping[tuple[Any, str], Mapping[str, Any]]


@described
class ErrorDetail(TypedDict):
    code: str
    message: str
    """What to change."""
    details: dict[str, Any]
    """`pointer`: a JSON pointer to the place, where there is one."""


class ErrorDocument(TypedDict):
    error: ErrorDetail


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The whole of /openapi.json."""
    schemas, components = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "comfyfleet",
            "version": __version__,
            "description": "One endpoint in front of any number of ComfyUIs. Every refusal is "
            '{"error": {"code", "message", "details"}}; every answer carries X-Request-Id.',
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": components},
    }


def _schemas(routes: Iterable[Route]) -> tuple[Schemas, Mapping[str, Any]]:
    """The schema of each model and view as a reference, and what they refer to."""
    types: dict[tuple[Any, JsonSchemaMode], TypeAdapter[Any]] = {}
    for route in routes:
        for model in (route.query, route.body):
            if model is not None:
                types[model, "validation"] = TypeAdapter(model)
        for shown in route.answers.values():
            if shown.schema is not None:
                types[shown.schema, "serialization"] = TypeAdapter(shown.schema)
    types[ErrorDocument, "serialization"] = TypeAdapter(ErrorDocument)
    references, definitions = TypeAdapter.json_schemas(
        [(key, key[1], adapter) for key, adapter in types.items()],
        ref_template="#/components/schemas/{model}",
    )
    return {key: schema for (key, _), schema in references.items()}, definitions.get("$defs", {})


def _operation(route: Route, schemas: Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": f"{_tag(route.path)}_{route.handler.__name__}",
        "tags": [_tag(route.path)],
        "responses": {str(status): _answer(shown, schemas) for status, shown in route.answers.items()}
        | _refusals(route, schemas),
    }
    if parameters := [*_path_parameters(route), *_headers(route), *_query(route)]:
        operation["parameters"] = parameters
    if body := _body(route, schemas):
        operation["requestBody"] = body
    return operation


def _tag(path: str) -> str:
    parts = path.split("/")
    if path.startswith("/api/v2/"):
        return f"comfy-{parts[3]}"
    return parts[2] if path.startswith("/v1/") else "operations"


def _answer(shown: Answer, schemas: Schemas) -> dict[str, Any]:
    response: dict[str, Any] = {"description": shown.description}
    if shown.schema is not None:
        response["content"] = {shown.media: {"schema": schemas[shown.schema, "serialization"]}}
    elif shown.media:
        response["content"] = {shown.media: {}}  # bytes or events: no schema of OpenAPI 3.1 tells of those
    return response


def _refusals(route: Route, schemas: Schemas) -> dict[str, Any]:
    """One response for each status, which names the codes that it comes with."""
    codes = set(route.refusals)
    codes.update(_BODY_CODES if route.body else ("invalid_request",) if route.query else ())
    codes.update(_STORE_CODES if route.path.startswith(("/v1/", "/api/v2/")) else ())
    by_status: dict[int, list[str]] = {}
    for code in sorted(codes):
        by_status.setdefault(STATUS[code], []).append(code)
    content = {"application/json": {"schema": schemas[ErrorDocument, "serialization"]}}
    return {
        str(status): {"description": f"{HTTPStatus(status).phrase}: {', '.join(named)}", "content": content}
        for status, named in sorted(by_status.items())
    }


def _path_parameters(route: Route) -> Iterable[dict[str, Any]]:
    for name in _PLACE.findall(route.path):
        kind = {"type": "integer", "minimum": 0} if name == "n" else {"type": "string"}
        yield {"name": name, "in": "path", "required": True, "schema": kind}


def _headers(route: Route) -> Iterable[dict[str, Any]]:
    for name, meaning in route.headers.items():
        yield {"name": name, "in": "header", "description": meaning, "schema": {"type": "string"}}


def _query(route: Route) -> Iterable[dict[str, Any]]:
    if route.query is None:
        return
    schema = TypeAdapter(route.query).json_schema(ref_template="#/components/schemas/{model}")
    for name, said in schema["properties"].items():
        parameter = {"name": name, "in": "query", "description": said.pop("description", ""), "schema": said}
        if said.get("type") == "object":
            parameter |= {"style": "deepObject", "explode": True}
        yield parameter


def _body(route: Route, schemas: Schemas) -> dict[str, Any] | None:
    if route.upload is not None:
        form = {"type": "object", "required": [route.upload], "properties": {route.upload: {"type": "string"}}}
        return {"required": True, "content": {"multipart/form-data": {"schema": form}}}
    if route.body is None:
        return None
    return {"required": True, "content": {"application/json": {"schema": schemas[route.body, "validation"]}}}
