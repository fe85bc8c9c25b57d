"""What a tenant reads of a job that waits: where it stands, and whom it waits for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.api.fleet.views.explanation import explanation_view
from orchestrator.domain.job import Job, JobSpec, JobStatus, Priority
from orchestrator.domain.outlook import Awaited, Outlook
from orchestrator.domain.run import Run, RunState, Timings
from orchestrator.domain.worker import Worker, WorkerInfo, WorkerState

RUN = Run("run", "job", 0, 1, RunState.QUEUED, Timings(1.0))
JOB = Job(JobSpec("job", "default", Priority.NORMAL, 1.0, 60.0, 2), JobStatus.QUEUED, (RUN,), queue_position=2)
WORKER = Worker(WorkerInfo("w", "http://w", "default", "agent"), WorkerState.READY, 1)
WITHIN = Outlook("acme", 1.0, 0.5, 105.04, 100.0, 30.0, True, 9, 3, 4)
BEYOND = replace(WITHIN, within=False)
BEGINS = "waits: 2 runs of pool default before it, 1 of 1 workers are ready"


@pytest.mark.parametrize(
    ("outlook", "words"),
    [
        (None, ""),
        (replace(WITHIN, portion=1.0), ""),
        (WITHIN, "; it is within the share of tenant acme, which is 50% of the pool"),
        (
            BEYOND,
            "; it is beyond the share of tenant acme, which is 50% of the pool (5 GPU-seconds ahead of the others, "
            "where 30 ahead are allowed; 3 runs of its own within the share): it waits behind the 4 runs within their "
            "tenants' shares, until others have caught up or nobody else can use a worker",
        ),
        (
            replace(WITHIN, portion=1.0, awaited=Awaited("warm", 2.6, untried=False)),
            "; it waits for warm, 3 s at most: it holds the models in memory, and should be done with the run sooner "
            "than another could load them",
        ),
        (
            replace(WITHIN, portion=1.0, awaited=Awaited("first", 5.0, untried=True)),
            "; it waits for first, 5 s at most: nobody knows yet how long such a run takes, and it is about to show "
            "that",
        ),
    ],
    ids=("nobody dispatches", "no other tenant waits", "within", "beyond", "a warm worker", "the first of its kind"),
)
def test_the_summary_says_where_it_stands(outlook: Outlook | None, words: str) -> None:
    assert explanation_view(JOB, [WORKER], {}, outlook)["summary"] == BEGINS + words


def test_figures_stand_beside_the_words() -> None:
    shown = explanation_view(JOB, [WORKER], {}, replace(BEYOND, awaited=Awaited("warm", 2.56, untried=False)))
    assert shown["account"] == {
        "tenant": "acme",
        "weight": 1.0,
        "portion": 0.5,
        "had_s": 105.0,
        "level_s": 100.0,
        "allowed_s": 30.0,
        "within": False,
        "queued": 9,
        "queued_within": 3,
        "first": 4,
    }
    assert shown["waits_for"] is not None
    assert (shown["waits_for"]["worker"], shown["waits_for"]["at_most_s"]) == ("warm", 2.6)
