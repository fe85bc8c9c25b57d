"""The store: every verb of port/ on one Redis. The transition tables of the domain are rendered into the Lua here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from enum import StrEnum
from importlib import resources
from typing import Any

from orchestrator.domain import asset, job, run, worker
from orchestrator.scheduling.ticket import HEAD_START_S
from orchestrator.settings import LeaseSettings, LimitSettings, RetentionSettings
from orchestrator.store import codec
from orchestrator.store.catalog import RedisCatalog
from orchestrator.store.clients import RedisClients
from orchestrator.store.costs import SAMPLES, RedisCosts
from orchestrator.store.database import Database
from orchestrator.store.dispatch import RedisDispatch
from orchestrator.store.jobs import RedisJobs
from orchestrator.store.judging import RedisJudging
from orchestrator.store.keys import Keys
from orchestrator.store.outlooks import RedisOutlooks
from orchestrator.store.runs import RedisRuns
from orchestrator.store.seal import Seal

FEED_LENGTH = 200_000  # a dispatcher further behind takes a new snapshot
EVENTS_LENGTH = 1_000  # of one job
WORKER_EVENTS_LENGTH = 200  # of one worker
JUDGE_LENGTH = 10_000  # hints; `unjudged` has what is trimmed
MAIL_LENGTH = 1_000  # to one agent; what is trimmed, its heartbeat tells
MAIL_TTL_S = 3600.0
TOTAL_ROWS = 4000  # of what is counted for ever; beyond, workflows that are new to it are taken together
LEDGER_ROWS = 20_000  # of one hour; beyond, tenants, versions and workers that are new to it are taken together
SAMPLES_TTL_S = 90 * 86400.0
CATALOG_TTL_S = 86400.0
ANSWER_TTL_S = 10.0
FORGET_WORKER_S = 86400.0


class RedisStore(
    RedisJobs, RedisClients, RedisRuns, RedisJudging, RedisDispatch, RedisCatalog, RedisCosts, RedisOutlooks
):
    """Implements Store. Make it with `connect`."""

    def __init__(self, database: Database, leader_s: float, seal: Seal) -> None:
        RedisDispatch.__init__(self, database, leader_s)
        RedisRuns.__init__(self, database, seal)

    @classmethod
    async def connect(
        cls,
        url: str,
        namespace: str,
        leases: LeaseSettings,
        retention: RetentionSettings,
        limits: LimitSettings,
        secret: bytes | None = None,
    ) -> RedisStore:
        """`secret` opens what jobs bring sealed; without one, only what this very store has sealed can be opened.

        Raises Busy("store_unavailable") when Redis does not answer."""
        database = Database(url, Keys(f"{namespace}:"), _preamble(leases, retention, limits))
        await database.load_scripts()
        return cls(database, leases.leader_s, Seal(secret or os.urandom(32)))

    async def ping(self) -> None:
        """A write, as a Redis whose disk is full still answers reads. Raises Busy("store_unavailable")."""
        await self._db.fetch(("SET", self._keys.single("ping"), "", "PX", 1000))

    async def close(self) -> None:
        await self._db.close()


def _preamble(leases: LeaseSettings, retention: RetentionSettings, limits: LimitSettings) -> str:
    numbers: dict[str, float] = {
        "FEED_LENGTH": FEED_LENGTH,
        "EVENTS_LENGTH": EVENTS_LENGTH,
        "WORKER_EVENTS_LENGTH": WORKER_EVENTS_LENGTH,
        "MAIL_LENGTH": MAIL_LENGTH,
        "JUDGE_LENGTH": JUDGE_LENGTH,
        "MAIL_TTL": MAIL_TTL_S * 1000,
        "CATALOG_TTL": CATALOG_TTL_S * 1000,
        "ANSWER_TTL": ANSWER_TTL_S * 1000,
        "FORGET_WORKER": FORGET_WORKER_S * 1000,
        "WORKER_LEASE": leases.worker_s * 1000,
        "TOTAL_ROWS": TOTAL_ROWS,
        "LEDGER_ROWS": LEDGER_ROWS,
        "SAMPLES": SAMPLES,
        "SAMPLES_TIDY": SAMPLES // 4,
        "SAMPLES_TTL": SAMPLES_TTL_S * 1000,
        "LEDGER_TTL": retention.costs_s * 1000,
        "EVENTS_TTL": retention.events_s * 1000,
        "IDEMPOTENCY_TTL": retention.idempotency_s * 1000,
        "MAX_QUEUED": limits.max_queued,
    }
    constants = [f"local {name} = {int(value)}" for name, value in numbers.items()]
    tables = [
        _lua_table("JOB", job.TRANSITIONS),
        _lua_table("RUN", run.TRANSITIONS),
        _lua_table("WORKER", worker.TRANSITIONS),
        _lua_table("ASSET", asset.TRANSITIONS),
        _lua_set("JOB_ENDS", job.TERMINAL),
        _lua_set("RUN_ENDS", run.TERMINAL),
        _lua_list("JOB_FIELDS", codec.JOB_FIELDS),
        _lua_list("RUN_FIELDS", codec.RUN_FIELDS),
        _lua_numbers("HEAD_START", {priority: start_s * 1000 for priority, start_s in HEAD_START_S.items()}),
    ]
    folder = resources.files("orchestrator.store").joinpath("lua")
    libraries = [folder.joinpath(name).read_text() for name in ("_ledger.lua", "_lib.lua")]
    return "\n".join([*constants, *tables, *libraries])


def _lua_table(name: str, table: Mapping[tuple[Any, Any], StrEnum]) -> str:
    rows = ", ".join(f"['{state} {event}'] = '{target}'" for (state, event), target in table.items())
    return f"local {name} = {{ {rows} }}"


def _lua_set(name: str, states: frozenset[Any]) -> str:
    return f"local {name} = {{ {', '.join(f'{state} = true' for state in sorted(states))} }}"


def _lua_numbers(name: str, numbers: Mapping[str, float]) -> str:
    rows = ", ".join(f"['{key}'] = {int(value)}" for key, value in numbers.items())
    return f"local {name} = {{ {rows} }}"


def _lua_list(name: str, items: Sequence[str]) -> str:
    quoted = ", ".join(f"'{item}'" for item in items)
    return f"local {name} = {{ {quoted} }}"
