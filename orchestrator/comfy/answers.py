"""What a ComfyUI answers over HTTP, parsed at the edge into frozen types. The counterpart of protocol.py.

An answer that is not what ComfyUI is known to give raises Malformed; within a history entry, what is not understood
is left out instead, as custom nodes put what they like into their outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, cast

from orchestrator.comfy.protocol import Malformed, mapping, number, sequence, text

_MESH_SUFFIXES = (".obj", ".fbx", ".gltf", ".glb", ".usdz", ".stl", ".ply", ".splat", ".ksplat", ".spz")

_MESSAGE_MAX, _TRACEBACK_MAX = 4_000, 40_000  # characters: exceptions may quote whole tensors


@dataclass(frozen=True, slots=True)
class FileOutput:
    """A file that a node made. `kind` is the node's word for it (images, gifs, audio, 3d, latents, files, ...)."""

    node_id: str
    kind: str
    filename: str
    subfolder: str
    type: str  # the folder that it is in: output, temp or input


@dataclass(frozen=True, slots=True)
class TextOutput:
    """Text that a node shows and keeps in no file."""

    node_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Failure:
    """The node that ended a prompt with an exception."""

    node_id: str | None
    class_type: str | None
    exception_type: str
    message: str
    traceback: str


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """How a prompt ended. Times are Unix seconds by the clock of ComfyUI's machine; None in old versions."""

    succeeded: bool
    interrupted: bool = False
    failure: Failure | None = None
    outputs: tuple[FileOutput | TextOutput, ...] = ()
    cached: frozenset[str] = frozenset()
    targets: tuple[str, ...] = ()  # the output nodes that it ran for
    reports: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict[str, Any])  # of quality, by node
    started_at: float | None = None
    ended_at: float | None = None
    document: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False, compare=False)  # but for the prompt


@dataclass(frozen=True, slots=True)
class Queue:
    """The prompts that a ComfyUI has, by id, in order."""

    running: tuple[str, ...]
    pending: tuple[str, ...]

    def __contains__(self, prompt_id: str) -> bool:
        return prompt_id in self.running or prompt_id in self.pending

    def __iter__(self) -> Iterator[str]:
        return chain(self.running, self.pending)


@dataclass(frozen=True, slots=True)
class SystemStats:
    """Sizes in bytes, of the first device."""

    version: str | None
    device: str | None
    vram_bytes: int | None
    ram_bytes: int | None
    argv: tuple[str, ...] = ()  # its command line, without its Python


@dataclass(frozen=True, slots=True)
class Problem:
    """What ComfyUI finds wrong with one node. `value` is what its `input` holds."""

    node_id: str
    class_type: str | None
    type: str
    message: str
    details: str
    input: str | None
    value: object


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a prompt was not taken. `node_errors` is ComfyUI's own report, by node, and `problems` what is in it."""

    type: str
    message: str
    details: str
    class_type: str | None  # that is missing
    node_id: str | None
    node_errors: Mapping[str, Any]
    problems: tuple[Problem, ...]


def parse_history(body: object, prompt_id: str) -> HistoryEntry | None:
    """The prompt's entry in the answer of /history/{id}; None: it is not over, or was never there."""
    entry = mapping(body).get(prompt_id)
    return None if entry is None else _entry(mapping(entry))


def parse_queue(body: object) -> Queue:
    """The answer of /queue."""
    lists = mapping(body)
    return Queue(_prompt_ids(lists.get("queue_running")), _prompt_ids(lists.get("queue_pending")))


def parse_system_stats(body: object) -> SystemStats:
    """The answer of /system_stats."""
    stats = mapping(body)
    system = mapping(stats.get("system"))
    devices = _list(stats.get("devices"))
    device = _dict(devices[0] if devices else None)
    return SystemStats(
        _optional_text(system.get("comfyui_version")),
        _optional_text(device.get("name")),
        _optional_int(device.get("vram_total")),
        _optional_int(system.get("ram_total")),
        tuple(str(arg) for arg in _list(system.get("argv"))),
    )


def parse_sizes(body: object) -> dict[str, int]:
    """File name -> bytes, from /experiment/models/{folder}; older versions tell no sizes."""
    files = (mapping(item) for item in sequence(body))
    return {text(file["name"]): int(number(file["size"])) for file in files if "size" in file and "name" in file}


def parse_refusal(body: object) -> Refusal:
    """The answer of /prompt to what it does not take, or takes in part."""
    answer = mapping(body)
    error = _dict(answer.get("error"))
    extra = _dict(error.get("extra_info"))
    return Refusal(
        str(error.get("type", "")),
        str(error.get("message", "")),
        str(error.get("details", "")),
        _optional_text(extra.get("class_type")),
        _optional_text(extra.get("node_id")),
        _dict(answer.get("node_errors")),
        tuple(_problems(_dict(answer.get("node_errors")))),
    )


def _entry(entry: Mapping[str, Any]) -> HistoryEntry:
    status = _dict(entry.get("status"))
    messages = dict(_messages(status.get("messages")))
    error = messages.get("execution_error")
    interrupted = "execution_interrupted" in messages
    # status_str alone is not enough: it stays "success" when no node could be staged.
    succeeded = status.get("status_str", "success") == "success" and error is None and not interrupted
    prompt = _list(entry.get("prompt"))
    return HistoryEntry(
        succeeded=succeeded,
        interrupted=interrupted,
        failure=None if error is None else _failure(error),
        outputs=parse_outputs(_dict(entry.get("outputs"))),
        cached=frozenset(str(node) for node in _list(messages.get("execution_cached", {}).get("nodes"))),
        targets=tuple(str(node) for node in _list(prompt[4])) if len(prompt) > 4 else (),
        reports=dict(_reports(_dict(entry.get("outputs")))),
        started_at=_seconds(messages.get("execution_start")),
        ended_at=_seconds(messages.get("execution_success") or error or messages.get("execution_interrupted")),
        document={name: part for name, part in entry.items() if name != "prompt"},
    )


def _messages(value: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for message in _list(value):
        pair = _list(message)
        if len(pair) == 2 and isinstance(pair[0], str):
            yield pair[0], _dict(pair[1])


def _failure(error: Mapping[str, Any]) -> Failure:
    return Failure(
        _optional_text(error.get("node_id")),
        _optional_text(error.get("node_type")),
        str(error.get("exception_type", "Exception")),
        str(error.get("exception_message", "")).strip()[:_MESSAGE_MAX],
        "".join(str(line) for line in _list(error.get("traceback")))[-_TRACEBACK_MAX:],
    )


def parse_outputs(by_node: Mapping[str, Any]) -> tuple[FileOutput | TextOutput, ...]:
    """Every file and text that nodes show, once each: some nodes list the same file under several kinds."""
    return tuple(_outputs(by_node))


def _outputs(by_node: Mapping[str, Any]) -> Iterator[FileOutput | TextOutput]:
    seen: set[tuple[str, str, str]] = set()
    for node_id, kinds in by_node.items():
        for kind, items in _dict(kinds).items():
            for item in _list(items):
                output = _output(node_id, kind, item)
                if isinstance(output, FileOutput):
                    place = (output.filename, output.subfolder, output.type)
                    if place in seen:
                        continue
                    seen.add(place)
                if output is not None:
                    yield output


def _reports(by_node: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Mapping[str, Any], ...]]]:
    """What FleetReport of the node pack says."""
    for node_id, kinds in by_node.items():
        if found := _list(_dict(kinds).get("fleet_report")):
            yield node_id, tuple(_dict(report) for report in found)


def _output(node_id: str, kind: str, item: object) -> FileOutput | TextOutput | None:
    if isinstance(item, dict):
        file = cast("Mapping[str, Any]", item)
        filename = file.get("filename")
        if not isinstance(filename, str) or not filename:
            return None
        return FileOutput(node_id, kind, filename, str(file.get("subfolder") or ""), str(file.get("type") or "output"))
    if not isinstance(item, str):
        return None
    if kind == "text":
        return TextOutput(node_id, item)
    if not item.lower().endswith(_MESH_SUFFIXES):
        return None
    # 3D viewers give the file's path in the output folder instead of an entry.
    subfolder, _, filename = item.replace("\\", "/").rpartition("/")
    return FileOutput(node_id, kind, filename, subfolder, "output")


def _problems(node_errors: Mapping[str, Any]) -> Iterator[Problem]:
    """What is not shaped as ComfyUI does it is passed over."""
    for node_id, report in node_errors.items():
        class_type = _optional_text(_dict(report).get("class_type"))
        for error in filter(None, map(_dict, _list(_dict(report).get("errors")))):
            extra = _dict(error.get("extra_info"))
            yield Problem(
                node_id,
                class_type,
                str(error.get("type", "")),
                str(error.get("message", "")),
                str(error.get("details", "")),
                _optional_text(extra.get("input_name")),
                extra.get("received_value"),
            )


def _prompt_ids(items: object) -> tuple[str, ...]:
    return tuple(text(sequence(item)[1]) for item in sequence(items) if len(sequence(item)) > 1)


def _seconds(message: Mapping[str, Any] | None) -> float | None:
    milliseconds = None if message is None else _optional_number(message.get("timestamp"))
    return None if milliseconds is None else milliseconds / 1000


def _dict(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _optional_text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _optional_number(value: object) -> float | None:
    try:
        return number(value)
    except Malformed:
        return None


def _optional_int(value: object) -> int | None:
    found = _optional_number(value)
    return None if found is None else int(found)
