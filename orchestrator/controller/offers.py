"""What each worker offers, and what its model files are, for the scheduler: read from the store and parsed once."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol
from weakref import WeakValueDictionary

import orjson

from orchestrator.domain.needs import ModelRef
from orchestrator.graph.catalog import Catalog
from orchestrator.scheduling.models import UNTOLD, Contents, Offer
from orchestrator.store import port

log = logging.getLogger(__name__)

_Remote = frozenset[tuple[ModelRef, str]]
"""Models that are not on disk, each with the fault of what could not be fetched."""


class CatalogReads(Protocol):
    """The part of the store that is asked."""

    async def object_info(self, catalog: str) -> bytes | None: ...
    async def models(self, digest: str) -> port.Contents: ...


class Offers:
    """Keeps an offer for as long as some worker has it."""

    def __init__(self, store: CatalogReads) -> None:
        self._store = store
        self._known: WeakValueDictionary[str, Offer] = WeakValueDictionary()
        self._lacking: WeakValueDictionary[tuple[Offer, _Remote], Offer] = WeakValueDictionary()

    async def of(self, catalog: str | None, contents: Contents) -> Offer | None:
        """What the catalog with this digest says, where the workers' models are these; None when it is not there
        (yet)."""
        offer = None if catalog is None else await self._of(catalog)
        if offer is None or not (remote := contents.remote):
            return offer
        # By that alone: each new offer has all groups' needs compared with it, and contents change with every digest.
        key = offer, frozenset(remote.items())
        lacking = self._lacking.get(key)
        if lacking is None:
            lacking = self._lacking[key] = offer.without(remote)
        return lacking

    async def _of(self, catalog: str) -> Offer | None:
        offer = self._known.get(catalog)
        if offer is None:
            raw = await self._store.object_info(catalog)
            if raw is None:
                log.warning("catalog %s is not in the store: its workers get no runs until they are inspected", catalog)
                return None
            offer = self._known[catalog] = await asyncio.to_thread(_offer, raw)
        return offer


class ModelContents:
    """Keeps what some workers' model files are for as long as some worker has it. For one index: it remembers files."""

    def __init__(self, store: CatalogReads) -> None:
        self._store = store
        self._known: WeakValueDictionary[str, Contents] = WeakValueDictionary()

    async def of(self, digest: str | None) -> Contents:
        """What `Worker.models` is the digest of."""
        if digest is None:
            return UNTOLD
        contents = self._known.get(digest)
        if contents is None:
            contents = self._known[digest] = Contents(await self._store.models(digest))
        return contents


def _offer(object_info: bytes) -> Offer:
    catalog = Catalog.parse(orjson.loads(object_info))
    return Offer(
        classes=frozenset(catalog.classes),
        models=catalog.models,
        folders=catalog.folders,
    )
