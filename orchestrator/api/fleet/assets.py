"""/v1/assets: input files, taken in by their content and handed out harmlessly."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from orchestrator.api.errors import answer
from orchestrator.api.files import FILE_ANSWERS, RANGE_HEADER, StoredFile, send
from orchestrator.api.fleet.views.assets import AssetView, asset_view
from orchestrator.api.routes import Answer, Route, id_of
from orchestrator.api.services import Services
from orchestrator.api.uploads import Uploads, tame
from orchestrator.errors import InvalidRequest

FIELD = "file"
_HINT = f"the file as {FIELD!r}: curl -F {FIELD}=@PATH"


class AssetRoutes:
    def __init__(self, services: Services, uploads: Uploads) -> None:
        self._store = services.store
        self._storage = services.storage
        self._uploads = uploads

    def table(self) -> Sequence[Route]:
        unknown = ("asset_not_found",)
        return (
            Route(
                method="POST", path="/v1/assets", handler=self.upload, upload=FIELD, summary="Upload an input file",
                answers={201: Answer("The asset; the same content is the same asset.", AssetView)},
                refusals=(
                    "body_too_large", "invalid_image", "invalid_multipart", "unsupported_media_type", "asset_deleting",
                    "storage_full", "storage_unavailable",
                ),
            ),
            Route(
                method="GET", path="/v1/assets/{id}", handler=self.show, summary="Show an asset", refusals=unknown,
                answers={200: Answer("The asset.", AssetView)},
            ),
            Route(
                method="GET", path="/v1/assets/{id}/content", handler=self.content, summary="Fetch an asset",
                headers=RANGE_HEADER, refusals=(*unknown, "range_not_satisfiable"),
                answers=FILE_ANSWERS,
            ),
        )  # fmt: skip

    async def upload(self, request: web.Request) -> web.StreamResponse:
        envelope = await self._uploads.open(request, _HINT)
        part = await envelope.part()
        if part is None or part.name != FIELD:
            raise InvalidRequest("invalid_multipart", f"the first part must be {_HINT}")
        async with self._uploads.spooled(part) as spool:
            await envelope.part()  # fails unless the file ended with its boundary
            asset = await self._uploads.keep(spool, tame(part.filename))
        return answer(asset_view(asset), 201)

    async def show(self, request: web.Request) -> web.StreamResponse:
        return answer(asset_view(await self._store.asset(id_of(request, "asset"))))

    async def content(self, request: web.Request) -> web.StreamResponse:
        asset = await self._store.asset(id_of(request, "asset"))
        return await send(request, self._storage, StoredFile.of_asset(asset))
