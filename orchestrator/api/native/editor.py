"""The editor: ComfyUI's own frontend at /editor/, where it finds the whole door below its own address.

Its files come from the package comfyui-frontend-package (the extra `editor`), of which nothing is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from aiohttp import web

from orchestrator.api.errors import answer
from orchestrator.errors import NotFound

PREFIX = "/editor"
_FRESH = {"Cache-Control": "no-store"}


class EditorRoutes:
    def __init__(self) -> None:
        self.files = frontend()

    def table(self) -> Sequence[web.RouteDef]:
        """What only the editor asks for: there are no templates, translations or subgraphs of node packs here."""
        return (
            web.get("/i18n", self.nothing),
            web.get("/workflow_templates", self.nothing),
            web.get("/node_replacements", self.nothing),
            web.get("/global_subgraphs", self.nothing),
        )

    async def page(self, request: web.Request) -> web.StreamResponse:
        if self.files is None:
            raise NotFound("no_editor", "the editor is not installed: pip install 'comfyfleet[editor]', then restart")
        return web.FileResponse(self.files / "index.html", headers=_FRESH)

    async def nothing(self, request: web.Request) -> web.StreamResponse:
        return answer({})

    async def no_templates(self, request: web.Request) -> web.StreamResponse:
        return answer([])

    async def no_style(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text="", content_type="text/css")

    async def home(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": f"{PREFIX}/"})

    def add_pages(self, app: web.Application) -> None:
        """Last, as its files are whatever is not taken."""
        app.router.add_get(PREFIX, self.home)
        app.router.add_get(f"{PREFIX}/", self.page)
        app.router.add_get(f"{PREFIX}/user.css", self.no_style)
        app.router.add_get(f"{PREFIX}/templates/{{name}}", self.no_templates)
        if self.files is not None:
            app.router.add_static(f"{PREFIX}/", self.files)


def frontend() -> Path | None:
    """The folder of the frontend's files, where that is installed."""
    spec = find_spec("comfyui_frontend_package")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "static"
