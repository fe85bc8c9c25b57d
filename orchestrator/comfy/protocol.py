"""What a ComfyUI says, parsed at the edge into frozen types: websocket frames here, HTTP answers in answers.py.

A frame that is not understood becomes Unknown and never an error: custom nodes send what they like, and new versions
of ComfyUI say new things. The shapes are those of ComfyUI's server.py, execution.py and comfy_execution/progress.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import orjson

_PREVIEW, _TEXT, _PREVIEW_WITH_METADATA = 1, 3, 4  # BinaryEventTypes of ComfyUI's protocol.py
_HUGE = 1e300  # keeps what is no number out, and every conversion between int and float safe
_IMAGE_TYPES = {1: "image/jpeg", 2: "image/png"}


NOT_KNOWN = "no such message is known"
"""Why an event is Unknown, unless it is malformed."""


@dataclass(frozen=True, slots=True)
class Status:
    """Sent to everybody whenever the queue changes."""

    queue_remaining: int


@dataclass(frozen=True, slots=True)
class ExecutionStart:
    prompt_id: str


@dataclass(frozen=True, slots=True)
class Cached:
    """The nodes that need not run again."""

    prompt_id: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Executing:
    """`node` None: the prompt is over, and its history written."""

    prompt_id: str
    node: str | None


@dataclass(frozen=True, slots=True)
class Progress:
    prompt_id: str
    node: str
    value: float
    maximum: float


@dataclass(frozen=True, slots=True)
class NodeProgress:
    node: str
    value: float
    maximum: float
    finished: bool


@dataclass(frozen=True, slots=True)
class ProgressState:
    """Every node that has begun, cached ones included as they are reached."""

    prompt_id: str
    nodes: tuple[NodeProgress, ...]


@dataclass(frozen=True, slots=True)
class Executed:
    """An output node is done. `shown` is what it says that it made; how it all ended, the history alone knows."""

    prompt_id: str
    node: str
    shown: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Succeeded:
    """History is not written yet."""

    prompt_id: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A node failed, or blocked execution: whether the prompt did is for the history to say."""

    prompt_id: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    prompt_id: str


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture on the way. Without metadata it belongs to whatever executes now."""

    content_type: str
    image: bytes
    prompt_id: str | None = None
    node: str | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """What a node says while it works; which prompt's node, is not told."""

    node: str
    text: str


@dataclass(frozen=True, slots=True)
class FeatureFlags:
    flags: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Unknown:
    kind: str
    reason: str


Event = (
    Status
    | ExecutionStart
    | Cached
    | Executing
    | Progress
    | ProgressState
    | Executed
    | Succeeded
    | Failed
    | Interrupted
    | Preview
    | Text
    | FeatureFlags
    | Unknown
)


class Malformed(ValueError):
    """Something is not what ComfyUI is known to send."""


def parse(frame: str | bytes) -> Event:
    """The event in one websocket frame."""
    return _parse_binary(frame) if isinstance(frame, bytes) else _parse_text(frame)


def mapping(value: object) -> Mapping[str, Any]:
    """`value` if it is a JSON object, or Malformed."""
    if not isinstance(value, dict):
        raise Malformed(f"expected an object, got {type(value).__name__}")
    return cast("Mapping[str, Any]", value)


def sequence(value: object) -> list[Any]:
    """`value` if it is a JSON array, or Malformed."""
    if not isinstance(value, list):
        raise Malformed(f"expected an array, got {type(value).__name__}")
    return cast("list[Any]", value)


def text(value: object) -> str:
    """`value` if it is a string, or Malformed."""
    if not isinstance(value, str):
        raise Malformed(f"expected a string, got {type(value).__name__}")
    return value


def number(value: object) -> float:
    """`value` as a float if it is a finite number, or Malformed."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _HUGE:
        raise Malformed(f"expected a number, got {type(value).__name__}")
    return float(value)


def _parse_text(frame: str) -> Event:
    try:
        message = mapping(orjson.loads(frame))
        kind = text(message.get("type"))
    except ValueError as error:
        return Unknown("text", f"not a message: {error}")
    reader = _READERS.get(kind)
    if reader is None:
        return Unknown(kind, NOT_KNOWN)
    try:
        return reader(mapping(message.get("data")))
    except (Malformed, KeyError) as error:
        return Unknown(kind, f"malformed: {error}")


def _status(data: Mapping[str, Any]) -> Event:
    return Status(int(number(mapping(mapping(data["status"])["exec_info"])["queue_remaining"])))


def _cached(data: Mapping[str, Any]) -> Event:
    return Cached(text(data["prompt_id"]), tuple(text(node) for node in sequence(data["nodes"])))


def _executing(data: Mapping[str, Any]) -> Event:
    return Executing(text(data["prompt_id"]), None if data["node"] is None else _node(data))


def _progress(data: Mapping[str, Any]) -> Event:
    return Progress(text(data["prompt_id"]), _node(data), number(data["value"]), number(data["max"]))


def _progress_state(data: Mapping[str, Any]) -> Event:
    nodes = mapping(data["nodes"]).values()
    return ProgressState(text(data["prompt_id"]), tuple(_node_progress(mapping(node)) for node in nodes))


def _node_progress(data: Mapping[str, Any]) -> NodeProgress:
    node = data.get("display_node_id") or data["node_id"]
    finished = data["state"] in ("finished", "error")
    return NodeProgress(text(node), number(data["value"]), number(data["max"]), finished)


def _node(data: Mapping[str, Any]) -> str:
    """The node as the graph's author knows it: expanded nodes name the one that they came from."""
    return text(data.get("display_node") or data["node"])


# The first message of a socket that took over its client's id names a node and no prompt: it is malformed here, and
# nothing is lost, as no id is used twice.
_READERS: Mapping[str, Callable[[Mapping[str, Any]], Event]] = {
    "status": _status,
    "execution_start": lambda data: ExecutionStart(text(data["prompt_id"])),
    "execution_cached": _cached,
    "executing": _executing,
    "progress": _progress,
    "progress_state": _progress_state,
    "executed": lambda data: Executed(text(data["prompt_id"]), _node(data), mapping(data.get("output") or {})),
    "execution_success": lambda data: Succeeded(text(data["prompt_id"])),
    "execution_error": lambda data: Failed(text(data["prompt_id"])),
    "execution_interrupted": lambda data: Interrupted(text(data["prompt_id"])),
    "feature_flags": FeatureFlags,
}


def _parse_binary(frame: bytes) -> Event:
    kind = int.from_bytes(frame[:4], "big")
    body = frame[4:]
    try:
        if kind == _PREVIEW:
            return Preview(_IMAGE_TYPES[int.from_bytes(body[:4], "big")], body[4:])
        if kind == _TEXT:
            node, rest = _prefixed(body)
            return Text(node.decode(), rest.decode())
        if kind == _PREVIEW_WITH_METADATA:
            return _preview_with_metadata(*_prefixed(body))
    except (ValueError, KeyError) as error:
        return Unknown(f"binary {kind}", f"malformed: {error}")
    return Unknown(f"binary {kind}", NOT_KNOWN)


def _prefixed(body: bytes) -> tuple[bytes, bytes]:
    """What a length goes before, and the rest."""
    end = 4 + int.from_bytes(body[:4], "big")
    if len(body) < end:
        raise Malformed(f"{end} bytes were announced and {len(body)} came")
    return body[4:end], body[end:]


def _preview_with_metadata(head: bytes, image: bytes) -> Event:
    data = mapping(orjson.loads(head))
    node = data.get("display_node_id") or data["node_id"]
    content_type = text(data.get("image_type", "image/jpeg"))
    if not content_type.startswith("image/"):
        raise Malformed(f"{content_type} is no picture")
    return Preview(content_type, image, text(data["prompt_id"]), text(node))
