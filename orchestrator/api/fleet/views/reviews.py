"""Jobs that wait for a person."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import TypedDict

from orchestrator.api.fleet.views.describe import described
from orchestrator.api.fleet.views.quality import QualityView, quality_view
from orchestrator.domain.job import Job
from orchestrator.store.port import PendingReview


@described
class ReviewView(TypedDict):
    job: str
    workflow: str | None
    due_in_s: float
    """Seconds left to decide."""
    quality: QualityView | None


@described
class ReviewsView(TypedDict):
    reviews: list[ReviewView]
    """The first to be due first."""


def reviews_view(pending: Sequence[tuple[PendingReview, Job]]) -> ReviewsView:
    return {
        "reviews": [
            {
                "job": job.spec.id,
                "workflow": job.spec.workflow,
                "due_in_s": review.due_in_s,
                "quality": quality_view(job),
            }
            for review, job in pending
        ]
    }
