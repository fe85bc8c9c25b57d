"""/openapi.json, and /docs: Swagger UI from an installed package, so that it works without the Internet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import orjson
from aiohttp import web

from orchestrator.api.openapi import document
from orchestrator.api.routes import Route

_ASSETS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript", "favicon-32x32.png": "image/png"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>comfyfleet API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" href="/docs/favicon-32x32.png">
</head>
<body>
<div id="api"></div>
<noscript>The API is described in <a href="/openapi.json">openapi.json</a>.</noscript>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({url: "/openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null});
"""


def add_docs(app: web.Application, table: Sequence[Route]) -> None:
    """Serves the document and the page."""

    @cache
    def spec() -> bytes:
        return orjson.dumps(document(table))

    async def openapi(request: web.Request) -> web.StreamResponse:
        return web.Response(body=spec(), content_type="application/json")

    async def page(request: web.Request) -> web.StreamResponse:
        return web.Response(text=_PAGE, content_type="text/html", headers={"Content-Security-Policy": _POLICY})

    async def start(request: web.Request) -> web.StreamResponse:
        return web.Response(text=_START, content_type="text/javascript")

    async def asset(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in _ASSETS:
            raise web.HTTPNotFound
        return web.FileResponse(_static() / name, headers={"Content-Type": _ASSETS[name]})

    app.router.add_get("/openapi.json", openapi)
    app.router.add_get("/docs", page)
    app.router.add_get("/docs/start.js", start)
    app.router.add_get("/docs/{name}", asset)


def _static() -> Path:
    """The folder in the package swagger-ui-py, which is not imported: only its files are wanted."""
    spec = find_spec("swagger_ui")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package swagger-ui-py is not installed: pip install swagger-ui-py")
    return Path(spec.origin).parent / "static"
