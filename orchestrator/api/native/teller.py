"""Teller: what one client is told of one job, from what the ComfyUIs said that had it. Pure.

A client hears of one execution, whatever becomes of it: what a second attempt repeats is passed over until it gets
further than the first one did, and how it ended is told only once that is certain. The same events make the same
messages, wherever and however often they are read: that is how another controller goes on where one was killed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import orjson

from orchestrator.api.native.history import ending, placed
from orchestrator.domain.event import Event, EventType

Message = str | bytes
_PREVIEW_WITH_METADATA = 4
_LIVE = frozenset({"progress", "progress_state"})


class Teller:
    """`started`: the client was told that it executes."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._run: str | None = None
        self._former: set[str] = set()  # runs
        self._told: set[Any] = set()  # by any attempt
        self._before: frozenset[Any] = frozenset()  # by former attempts
        self._reached: dict[str, float] = {}  # node -> the furthest step that was told
        self._behind = False  # this attempt is not yet where a former one was
        self._blocked: list[Message] = []  # errors that may turn out not to have failed the job
        self.started = False

    def hear(self, event: Event) -> Iterator[Message]:
        """What the client is to be told now."""
        if event.type is not EventType.COMFY or event.data["run"] in self._former:
            return
        self._turn_to(event.data["run"])
        for frame in event.data["frames"]:
            if isinstance(frame, bytes):
                if not self._behind:
                    yield self._binary(frame)
            else:
                yield from self._text(frame)

    def end(self, entry: Mapping[str, Any]) -> Iterator[Message]:
        """The rest, from the job's entry in the history; but for `executing` nothing, which comes after the status."""
        messages = dict(entry["status"]["messages"])
        for kind in ("execution_start", "execution_cached"):
            if kind in messages and kind not in self._told:
                self.started = True
                yield encode(kind, messages[kind])
        for node, shown in entry["outputs"].items():
            if ("executed", node) not in self._told:
                told = {"node": node, "display_node": node, "output": shown, "prompt_id": self._job_id}
                yield encode("executed", told)
        kind, data = ending(entry)
        if kind == "execution_success":
            yield from self._blocked
        yield encode(kind, data)

    def _turn_to(self, run: str) -> None:
        if run == self._run:
            return
        if self._run is not None:
            self._former.add(self._run)
            self._before = frozenset(self._told)
            self._behind = bool(self._told)
            self._blocked.clear()
        self._run = run

    def _text(self, frame: str) -> Iterator[Message]:
        assert self._run is not None
        frame = frame.replace(self._run, self._job_id)
        message = orjson.loads(frame)
        kind, data = message["type"], message.get("data")
        if kind == "execution_error":
            self._blocked.append(frame)
        elif kind in _LIVE:
            if self._gets_on(kind, data):
                yield frame
        else:
            if kind == "execution_start":
                self._blocked.clear()
            key = _key(kind, data)
            if key in self._before or (kind in ("execution_start", "execution_cached") and key in self._told):
                return
            self._told.add(key)
            self._behind = False
            self.started = True
            if kind == "executed":
                self._told.add(("executed", data["node"]))
                frame = encode(kind, {**data, "output": placed(data["output"], self._job_id)})
            yield frame

    def _gets_on(self, kind: str, data: Mapping[str, Any]) -> bool:
        """Whether a message about progress is news."""
        if kind == "progress":
            node, value = str(data["node"]), float(data["value"])
            if not self._behind or value > self._reached.get(node, 0.0):
                self._reached[node] = max(value, self._reached.get(node, 0.0))
                self._behind = False
        return not self._behind

    def _binary(self, frame: bytes) -> bytes:
        """Its metadata name the run, in as many letters as the job has."""
        if int.from_bytes(frame[:4], "big") != _PREVIEW_WITH_METADATA or self._run is None:
            return frame
        end = 8 + int.from_bytes(frame[4:8], "big")
        return frame[:8] + frame[8:end].replace(self._run.encode(), self._job_id.encode()) + frame[end:]


def encode(kind: str, data: Any) -> str:
    return orjson.dumps({"type": kind, "data": data}).decode()


def _key(kind: str, data: Any) -> Any:
    """Equal for messages that say the same to a client."""
    if kind in ("execution_start", "execution_cached"):
        return kind
    if not isinstance(data, dict):
        return kind, str(data)
    fields = cast("dict[str, Any]", data)
    return (
        kind,
        str(fields.get("node")),
        orjson.dumps(fields.get("output"), option=orjson.OPT_SORT_KEYS) if kind == "executed" else b"",
    )
