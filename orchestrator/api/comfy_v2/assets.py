"""/api/v2/assets: files by their content, those that were uploaded and those that jobs made."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from aiohttp import web

from orchestrator.api.comfy_v2.contract import ROOT
from orchestrator.api.comfy_v2.outputs import Outputs
from orchestrator.api.comfy_v2.requests import Mint
from orchestrator.api.comfy_v2.views import ComfyAssetView, Site, asset_view, output_asset_view
from orchestrator.api.errors import answer
from orchestrator.api.files import FILE_ANSWERS, RANGE_HEADER, StoredFile, send
from orchestrator.api.routes import Answer, Route, id_of
from orchestrator.api.services import Services
from orchestrator.api.uploads import Envelope, Uploads, tame
from orchestrator.delivery.keys import asset_key
from orchestrator.domain.asset import Asset, asset_id
from orchestrator.errors import Conflict, InvalidRequest, NotFound
from orchestrator.settings import RetentionSettings

_HASH = re.compile(r"blake3:([0-9a-f]{64})")
_HINT = "the fields content_type, file_path, expected_hash and tags, and last the file as 'file'"
_FIELDS = frozenset({"content_type", "file_path", "expected_hash", "tags"})
_UNKNOWN = ("asset_not_found",)


class ComfyAssetRoutes:
    def __init__(self, services: Services, uploads: Uploads, retention: RetentionSettings) -> None:
        self._store = services.store
        self._storage = services.storage
        self._outputs = Outputs(services)
        self._uploads = uploads
        self._retention = retention

    def table(self) -> Sequence[Route]:
        return (*self._making(), *self._one())

    def _making(self) -> Sequence[Route]:
        known = Answer("It was there already.", ComfyAssetView)
        return (
            Route(
                method="POST", path=f"{ROOT}/assets", handler=self.upload, upload="file", summary="Upload a file",
                headers={"Idempotency-Key": "Not needed: the same content is the same asset."},
                answers={201: Answer("The asset.", ComfyAssetView), 200: known},
                refusals=(
                    "invalid_request", "body_too_large", "hash_mismatch", "invalid_image", "unsupported_media_type",
                    "asset_deleting", "storage_full", "storage_unavailable",
                ),
            ),
            Route(
                method="POST", path=f"{ROOT}/assets/from-hash", handler=self.mint, body=Mint, answers={200: known},
                summary="Use a file that is there already", refusals=("blob_not_found",),
            ),
            Route(
                method="HEAD", path=f"{ROOT}/assets/by-hash/{{hash}}", handler=self.probe, refusals=("not_found",),
                summary="Whether a file is there already", answers={200: Answer("It is.", media="")},
            ),
        )  # fmt: skip

    def _one(self) -> Sequence[Route]:
        return (
            Route(
                method="GET", path=f"{ROOT}/assets/{{id}}", handler=self.show, summary="Show an asset or an output",
                answers={200: Answer("The asset.", ComfyAssetView)}, refusals=_UNKNOWN,
            ),
            Route(
                method="GET", path=f"{ROOT}/assets/{{id}}/content", handler=self.content, headers=RANGE_HEADER,
                summary="Fetch an asset or an output", answers=FILE_ANSWERS,
                refusals=(*_UNKNOWN, "range_not_satisfiable"),
            ),
            Route(
                method="DELETE", path=f"{ROOT}/assets/{{id}}", handler=self.delete, summary="Delete an asset",
                answers={204: Answer("It is gone.", media="")}, refusals=(*_UNKNOWN, "forbidden"),
            ),
        )  # fmt: skip

    async def upload(self, request: web.Request) -> web.StreamResponse:
        envelope = await self._uploads.open(request, _HINT)
        fields: dict[str, str] = {}
        while (part := await envelope.part()) is not None and part.name != "file":
            fields[_known(part.name)] = await envelope.text(part)
        if part is None:
            raise InvalidRequest("invalid_request", f"the file is missing: send {_HINT}")
        file_path = fields.get("file_path") or part.filename
        async with self._uploads.spooled(part) as spool:
            await _end(envelope)
            _compare(fields.get("expected_hash"), spool.digest)
            known = await self._known(f"blake3:{spool.digest}")
            asset = known or await self._uploads.keep(spool, tame(file_path))
        return self._shown(request, asset, file_path, created_new=known is None)

    async def mint(self, request: web.Request, body: Mint) -> web.StreamResponse:
        asset = await self._known(body.hash)
        if asset is None:
            raise NotFound("blob_not_found", f"there is no file {body.hash}: upload it to POST {ROOT}/assets")
        return self._shown(request, asset, body.file_path, created_new=False)

    async def probe(self, request: web.Request) -> web.StreamResponse:
        if await self._known(request.match_info["hash"]) is None:
            raise NotFound("not_found", "there is no such file")
        return web.Response()

    async def show(self, request: web.Request) -> web.StreamResponse:
        named = id_of(request, "asset")
        if found := await self._outputs.find(named):
            return answer(output_asset_view(*found, Site.of(request, self._retention)))
        return self._shown(request, await self._store.asset(named))

    async def content(self, request: web.Request) -> web.StreamResponse:
        named = id_of(request, "asset")
        if found := await self._outputs.find(named):
            file = StoredFile.of_output(found[0], found[2])
        else:
            file = StoredFile.of_asset(await self._store.asset(named))
        return await send(request, self._storage, file)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        named = id_of(request, "asset")
        if await self._outputs.find(named):
            raise InvalidRequest("forbidden", "the outputs of a job are kept for as long as the job, and go with it")
        asset = await self._store.drop_asset(named)
        await self._storage.delete(asset_key(asset.hash))
        await self._store.swept_asset(asset.id)
        return web.Response(status=204)

    async def _known(self, content_hash: str) -> Asset | None:
        """The asset with that content, if there is one."""
        found = _HASH.fullmatch(content_hash)
        if found is None:
            return None
        try:
            asset = await self._store.asset(asset_id(found[1]))
        except NotFound:
            return None
        return asset if asset.hash == content_hash else None

    def _shown(
        self, request: web.Request, asset: Asset, file_path: str | None = None, created_new: bool | None = None
    ) -> web.StreamResponse:
        site = Site.of(request, self._retention)
        view = asset_view(asset, site, time.time(), file_path=file_path, created_new=created_new)
        return answer(view, 201 if created_new else 200)


def _known(name: str | None) -> str:
    if name not in _FIELDS:
        raise InvalidRequest("invalid_request", f"the form has a field {str(name)[:80]!r}; send {_HINT}")
    return name


async def _end(envelope: Envelope) -> None:
    if await envelope.part() is not None:
        raise InvalidRequest("invalid_request", "the file must be the last part of the form")


def _compare(expected: str | None, digest: str) -> None:
    if expected and expected.lower() != f"blake3:{digest}":
        raise Conflict(
            "hash_mismatch", f"expected_hash is {expected[:80]}, and what came is blake3:{digest}: send it again"
        )
