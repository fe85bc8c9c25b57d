"""Labels of what the leader counts are bounded, whatever is registered."""

from __future__ import annotations

import pytest

from orchestrator.controller import metrics


def test_workflows_beyond_the_first_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MAX_WORKFLOWS", 2)
    monkeypatch.setattr(metrics, "_workflows", set())
    told = [metrics.workflow_label(name) for name in ("a", "b", None, "c", "a", "d")]
    assert told == ["a", "b", "(graph)", "(others)", "a", "(others)"]
