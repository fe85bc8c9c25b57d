"""The routes of node packs that an operator has listed (see controller/node_packs.py)."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from orchestrator.api.native.editor import PREFIX
from orchestrator.controller.node_packs import NodePacks
from orchestrator.errors import NotFound


class PackRoutes:
    def __init__(self, packs: NodePacks) -> None:
        self._packs = packs

    def table(self) -> Sequence[web.RouteDef]:
        return [web.get(f"{prefix}{{rest:.*}}", self.ask) for prefix in self._packs.prefixes]

    async def ask(self, request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path.removeprefix(PREFIX).removeprefix("/api")
        found = await self._packs.ask(request.rel_url.with_path(path, encoded=True, keep_query=True))
        if found is None:
            raise NotFound("not_found", "no worker that can be reached from here has that")
        body, content_type = found
        headers = {"Content-Type": content_type, "X-Content-Type-Options": "nosniff"}
        return web.Response(body=body, headers=headers)
