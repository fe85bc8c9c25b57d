"""Reports that lack a field rather than fail, and say why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .internals import Missing

_T = TypeVar("_T")


class Gaps:
    """Why fields of one report are not there, by field."""

    def __init__(self, reasons: Mapping[str, str] | None = None) -> None:
        self.reasons = dict(reasons or {})

    def note(self, field: str, reason: str | None) -> None:
        """Keeps the first reason, which is nearest to the cause."""
        if reason is not None:
            self.reasons.setdefault(field, reason)

    def read(self, field: str, source: Callable[[], _T]) -> _T | None:
        """What the source answers; None if it raises, and the reason is noted."""
        try:
            return source()
        except Missing as missing:
            self.note(field, str(missing))
        except Exception as error:  # noqa: BLE001 - a report is for all versions of ComfyUI, also those to come
            self.note(field, f"{type(error).__name__}: {error}")
        return None

    def fields(self, sources: Mapping[str, Callable[[], Any]], within: str = "") -> dict[str, Any]:
        """The answers of those sources that have one."""
        found = {field: self.read(f"{within}{field}", source) for field, source in sources.items()}
        return {field: value for field, value in found.items() if value is not None}
