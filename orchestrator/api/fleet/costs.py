"""/v1/costs: who had the workers' time, and what it cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from aiohttp import web
from pydantic import Field, create_model

from orchestrator.api.errors import answer
from orchestrator.api.fleet.views.costs import CostsView, costs_view
from orchestrator.api.routes import Answer, Route
from orchestrator.api.services import Services
from orchestrator.controller.costs import bill
from orchestrator.controller.requests import Request
from orchestrator.errors import InvalidRequest

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
LONGEST_S = 400 * DAY_S
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)  # not timestamp(), which fails for the ends of time
_LAST_S = (datetime(9999, 1, 1, tzinfo=UTC) - _BEGINNING).total_seconds()

_WHEN = "ISO 8601, e.g. 2026-03-01T00:00Z; without a zone it is UTC."
Period = create_model(
    "Period",
    __base__=Request,
    **{  # pyright: ignore[reportArgumentType, reportCallIssue]: `from` is a word of Python's
        "from": (datetime | None, Field(default=None, description=f"Beginning; a day before `to`. {_WHEN}")),
        "to": (datetime | None, Field(default=None, description=f"End; now. {_WHEN}")),
    },
)


class CostQuery(Period):
    group_by: str = Field(default="workflow", max_length=60)
    """workflow, version, tenant, pool, gpu, worker, kind, or label[NAME] of the jobs that are kept."""


class CostRoutes:
    def __init__(self, services: Services) -> None:
        self._store = services.store

    def table(self) -> Sequence[Route]:
        return (
            Route(
                method="GET", path="/v1/costs", handler=self.costs, query=CostQuery,
                summary="Where the seconds of the workers went, and what they cost",
                answers={200: Answer("By what was asked for; in whole hours, UTC.", CostsView)},
                refusals=("invalid_group", "invalid_period"),
            ),
        )  # fmt: skip

    async def costs(self, request: web.Request, query: CostQuery) -> web.StreamResponse:
        until = _seconds(query.to, time.time())
        since = _seconds(getattr(query, "from"), until - DAY_S)
        longest_s = LONGEST_S + HOUR_S  # who asks for the time until now reckoned it a moment ago
        if not 0 < until - since < longest_s or since < 0 or until > _LAST_S:
            told = "`from` must be before `to`, by at most 400 days, and neither before 1970 nor after 9998"
            raise InvalidRequest("invalid_period", told, pointer="/from")
        since, until = since // HOUR_S * HOUR_S, -(-until // HOUR_S) * HOUR_S
        return answer(costs_view(query.group_by, since, until, await bill(self._store, query.group_by, since, until)))


def _seconds(moment: datetime | None, default: float) -> float:
    if moment is None:
        return default
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _BEGINNING).total_seconds()
