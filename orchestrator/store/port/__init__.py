"""The port to the shared state: the verbs of the domain, and nothing of Redis.

Narrow protocols, so that a collaborator asks for what it uses; `Store` is all of them. The one implementation
is store/redis.py; simulations bring their own. Every verb that changes a run compares its state *and* attempt in the
store, and raises Superseded to whoever comes late. Times are Unix seconds by the store's clock.
"""

from __future__ import annotations

from typing import Protocol

from orchestrator.store.port.catalog import CatalogStore
from orchestrator.store.port.clients import ClientStore, Frame, Posted
from orchestrator.store.port.costs import CostStore
from orchestrator.store.port.dispatch import Assignment, DispatchStore, FeedItem, FeedKind, RunEnd, Snapshot
from orchestrator.store.port.jobs import Counts, Idempotency, JobPage, JobQuery, JobStore, Submission, Submitted, Watch
from orchestrator.store.port.judging import (
    AskPerson,
    Conclusion,
    Deliver,
    FailJob,
    JudgeStore,
    MoreCandidates,
    PendingReview,
)
from orchestrator.store.port.outlooks import OutlookStore, Question
from orchestrator.store.port.runs import Duties, Mail, MailKind, Order, Result, RunKey, RunStore
from orchestrator.store.port.values import Contents, Graph

__all__ = [
    "AskPerson",
    "Assignment",
    "CatalogStore",
    "ClientStore",
    "Conclusion",
    "Contents",
    "CostStore",
    "Counts",
    "Deliver",
    "DispatchStore",
    "Duties",
    "FailJob",
    "FeedItem",
    "FeedKind",
    "Frame",
    "Graph",
    "Idempotency",
    "JobPage",
    "JobQuery",
    "JobStore",
    "JudgeStore",
    "Mail",
    "MailKind",
    "MoreCandidates",
    "Order",
    "OutlookStore",
    "PendingReview",
    "Posted",
    "Question",
    "Result",
    "RunEnd",
    "RunKey",
    "RunStore",
    "Snapshot",
    "Store",
    "Submission",
    "Submitted",
    "Watch",
]


class Store(
    JobStore, ClientStore, RunStore, JudgeStore, DispatchStore, CatalogStore, CostStore, OutlookStore, Protocol
):
    async def ping(self) -> None:
        """Raises Busy("store_unavailable") when Redis does not answer or does not take writes."""
        ...

    async def close(self) -> None: ...
