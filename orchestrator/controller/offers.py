"""What each worker offers, for the scheduler: read from the store and parsed once per catalog."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Protocol
from weakref import WeakValueDictionary

import orjson

from orchestrator.domain.needs import ModelRef
from orchestrator.graph.catalog import Catalog
from orchestrator.scheduling.models import Offer

log = logging.getLogger(__name__)


class CatalogReads(Protocol):
    """The part of the store that is asked."""

    async def object_info(self, catalog: str) -> bytes | None: ...
    async def model_sizes(self, catalog: str) -> Mapping[str, int]: ...


class Offers:
    """Keeps an offer for as long as some worker has it."""

    def __init__(self, store: CatalogReads) -> None:
        self._store = store
        self._known: WeakValueDictionary[str, Offer] = WeakValueDictionary()

    async def of(self, catalog: str | None) -> Offer | None:
        """What the catalog with this digest says; None when it is not there (yet)."""
        if catalog is None:
            return None
        offer = self._known.get(catalog)
        if offer is None:
            raw = await self._store.object_info(catalog)
            if raw is None:
                log.warning("catalog %s is not in the store: its workers get no runs until they are inspected", catalog)
                return None
            sizes = await self._store.model_sizes(catalog)
            offer = self._known[catalog] = await asyncio.to_thread(_offer, raw, sizes)
        return offer


def _offer(object_info: bytes, sizes: Mapping[str, int]) -> Offer:
    catalog = Catalog.parse(orjson.loads(object_info))
    return Offer(
        classes=frozenset(catalog.classes),
        models=catalog.models,
        folders=catalog.folders,
        sizes={ModelRef(*path.split("/", 1)): size for path, size in sizes.items()},
    )
