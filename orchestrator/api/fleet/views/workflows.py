"""Workflows and their versions."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from orchestrator.api.fleet.views.describe import described
from orchestrator.api.fleet.views.times import iso
from orchestrator.domain.job import Priority
from orchestrator.domain.workflow import ParamKind, Workflow


@described
class BindingView(TypedDict):
    inputs: list[str]
    """NODE.INPUT"""
    kind: ParamKind


@described
class WorkflowSummary(TypedDict):
    name: str
    version: int
    active: bool
    """Whether this is the version that new jobs get."""
    digest: str
    description: str
    pool: str
    priority: Priority
    timeout_s: float
    retries: int
    outputs: list[str]
    created_at: str


@described
class WorkflowView(WorkflowSummary):
    graph: dict[str, Any]
    params: dict[str, Any]
    bind: dict[str, BindingView]


@described
class WorkflowsView(TypedDict):
    workflows: list[WorkflowSummary]


def summary_view(workflow: Workflow, active: int) -> WorkflowSummary:
    return {
        "name": workflow.name,
        "version": workflow.version,
        "active": workflow.version == active,
        "digest": workflow.digest,
        "description": workflow.description,
        "pool": workflow.pool,
        "priority": workflow.priority,
        "timeout_s": workflow.timeout_s,
        "retries": workflow.retries,
        "outputs": list(workflow.outputs),
        "created_at": iso(workflow.created_at),
    }


def workflow_view(workflow: Workflow, active: int) -> WorkflowView:
    return {
        **summary_view(workflow, active),
        "graph": dict(workflow.graph),
        "params": dict(workflow.params),
        "bind": {
            param: {"inputs": [f"{node}.{name}" for node, name in binding.inputs], "kind": binding.kind}
            for param, binding in workflow.bind.items()
        },
    }
