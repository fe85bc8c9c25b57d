"""What several parts of the port speak of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.domain.needs import Content, ModelRef

Graph = Mapping[str, Any]


Contents = Mapping[ModelRef, Content]
