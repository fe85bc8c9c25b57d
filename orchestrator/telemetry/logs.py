"""Log lines: text for a person at a terminal, JSON for a program, both with the ids of what they are about.

No line tells a prompt. Ours tell texts of others through `told`; what an exception says may quote anything (pydantic
quotes what it refuses, ComfyUI its inputs), so of exceptions that are not ours the place and the kind are written, and
what they say as a hash that can be compared. Libraries that write what they send and receive at level debug are never
asked to.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

from orchestrator.errors import FleetError
from orchestrator.settings import LogSettings
from orchestrator.telemetry.ids import current
from orchestrator.telemetry.traces import trace_id

OURS = "orchestrator"
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_ESCAPED = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {ord("\n"): "\\n"}
"""Of what others named or said, at a terminal: a line stays one line, and nothing moves the cursor."""
_HARMLESS = (FleetError, OSError, TimeoutError, ImportError)  # they speak of the fleet and its machines


def configure(settings: LogSettings, stream: TextIO = sys.stderr) -> None:
    """Has all loggers of this process write to `stream`."""
    as_text = settings.format == "text" or (settings.format == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter((Text if as_text else Json)(settings.verbatim))
    level = settings.level.upper()
    logging.basicConfig(handlers=[handler], level=max(logging.INFO, getattr(logging, level)), force=True)
    logging.getLogger(OURS).setLevel(level)


def told(text: str) -> str:
    """A text that may be a prompt, or quote one: enough to tell it from others."""
    return f"sha256:{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:12]} ({len(text)} characters)"


class _Formatter(logging.Formatter):
    """`verbatim`: whatever exceptions say is written as it is."""

    def __init__(self, verbatim: bool = False) -> None:
        super().__init__()
        self._verbatim = verbatim

    def formatException(self, ei: Any) -> str:
        return super().formatException(ei) if self._verbatim else "\n".join(_story(ei[1]))

    def message(self, record: logging.LogRecord) -> str:
        """Of asyncio's the first line: those that follow show tasks, and with them what their exceptions say."""
        message = record.getMessage()
        return message.partition("\n")[0] if record.name == "asyncio" and not self._verbatim else message

    def fields(self, record: logging.LogRecord) -> Mapping[str, Any]:
        """The ids of what it is about, its trace, and what was given as `extra`."""
        trace = {"trace": traced} if (traced := trace_id()) else {}
        extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        return {**current(), **trace, **extra}

    def exception(self, record: logging.LogRecord) -> str | None:
        return self.formatException(record.exc_info) if record.exc_info and record.exc_info[1] else None


class Json(_Formatter):
    """One object a line: time, level, logger, message, and what else there is to say by its name."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.message(record),
            **self.fields(record),
        }
        if exception := self.exception(record):
            line["exception"] = exception
        try:
            return orjson.dumps(line, default=str).decode()
        except orjson.JSONEncodeError:  # the name of a file that is not UTF-8, a number of 70 bits
            return json.dumps(line, default=str)


class Text(_Formatter):
    """The time of day as the reader's clock has it, and of the ids those that the message does not tell itself."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        message = self.message(record)
        rest = [f"{key}={value}" for key, value in self.fields(record).items() if str(value) not in message]
        line = "  ".join((f"{at} {record.levelname:<7} {message}", *rest)).translate(_ESCAPED)
        exception = self.exception(record)
        return f"{line}\n{exception}" if exception else line


def _story(error: BaseException) -> Iterator[str]:
    """Where it was raised, outermost first, after what led to it; of a group, each of its errors."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _story(before)
        yield "which led to:"
    yield from "".join(traceback.format_tb(error.__traceback__)).splitlines()
    said = str(error) if isinstance(error, (*_HARMLESS, BaseExceptionGroup)) else told(str(error))
    yield f"{type(error).__qualname__}: {said.translate(_ESCAPED)}"
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from (f"  | {line}" for line in _story(one))
