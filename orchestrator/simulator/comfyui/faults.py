"""Faults: the ways in which a simulated ComfyUI fails on request, and when each of them strikes.

They are asked for when it is started (SimConfig.faults) or while it runs (POST /simulator/faults). What each looks
like from outside was taken from ComfyUI's own code (execution.py, main.py, server.py of 0.3.64 and 0.33.0) and from
the reports of its users; breakage.py carries out those that strike a node or a prompt.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What fails. An occasion of the first group is a node that is about to execute."""

    OUT_OF_MEMORY = "out_of_memory"  # the node raises what torch does; ComfyUI unloads its models and goes on
    DEVICE_ERROR = "device_error"  # the node raises a CUDA error, and so does all that needs the device, ever after
    HANG = "hang"  # the node never ends, and sees no interrupt
    STALL = "stall"  # the node takes `seconds` longer, without a word and without seeing an interrupt
    CRASH = "crash"  # the process ends, as the kernel ends one that takes too much memory
    DROP_SOCKETS = "drop_sockets"  # every websocket breaks
    REPLACE_SOCKETS = "replace_sockets"  # a second socket with each clientId came and went: the first hears no more
    DISK_FULL = "disk_full"  # an output node cannot write

    SLOW_LOAD = "slow_load"  # an occasion is a model file: reading it takes `seconds` longer

    # An occasion is a prompt, taken from the queue or executed.
    ZOMBIE = "zombie"  # the thread that executes ends, the prompt stays the running one, HTTP goes on
    LEAK = "leak"  # `bytes` of memory are never given back
    FILL = "fill"  # `bytes` are left in the folder `name` (temp unless given)
    BLANK = "blank"  # all of it is said to be cached, and no outputs are named
    LOSE_FILES = "lose_files"  # the files that it saved are deleted
    FORGET_HISTORY = "forget_history"  # its history entry is gone at once

    # An occasion is a request.
    LOSE_ANSWER = "lose_answer"  # a prompt is taken, and the connection breaks before that is said
    SLOW_OBJECT_INFO = "slow_object_info"  # nothing at all is answered for `seconds`
    RENAME_UPLOADS = "rename_uploads"  # a file that is uploaded gets another name, whatever `overwrite` says

    # There are no occasions: it is so until it is cleared.
    MUTE = "mute"  # websockets stay open and hear nothing
    MISSING_CLASS = "missing_class"  # there is no class `name`, as after IMPORT FAILED
    MISSING_MODEL = "missing_model"  # there is no file `name`, which is FOLDER/FILE


class BadFault(ValueError):
    """Says what is wrong with what was asked for."""


@dataclass(frozen=True)
class Fault:
    """Strikes on `times` of its occasions (None: on all), after `skip` have passed."""

    kind: Kind
    times: int | None = 1
    skip: int = 0
    class_type: str | None = None
    """Only nodes of this class are occasions."""
    text: str | None = None
    """Only prompts whose id this is, or that have a widget with this text in it, are."""
    seconds: float = 0.0
    bytes: int = 0
    name: str = ""

    @staticmethod
    def parse(document: object) -> Fault:
        """From JSON. Raises BadFault."""
        if not isinstance(document, Mapping):
            raise BadFault(f"a fault is an object such as {{'kind': 'hang'}}, not {document!r}")
        unknown = document.keys() - {field.name for field in fields(Fault)}
        if unknown:
            raise BadFault(f"a fault has no {', '.join(map(str, unknown))}")
        try:
            return Fault(**{**document, "kind": Kind(document["kind"])})
        except (KeyError, ValueError) as error:
            raise BadFault(f"the kind of a fault is one of {', '.join(Kind)}") from error


class Faults:
    """Of one simulated ComfyUI; used from its executing thread and its event loop.

    `own_process`: it may end its process. Otherwise it is somebody else's, and a crash is refused.
    """

    def __init__(self, faults: Iterable[Fault] = (), *, own_process: bool = False) -> None:
        self._own_process = own_process
        self._lock = threading.Lock()
        self._faults: dict[Fault, int] = {}  # with the occasions that each has had
        self.device_broken = False
        self.add(faults)

    def add(self, faults: Iterable[Fault]) -> None:
        """One that was there is there anew. Raises BadFault."""
        faults = list(faults)
        if not self._own_process and any(fault.kind is Kind.CRASH for fault in faults):
            raise BadFault("this simulator shares its process with others: only one of its own can crash")
        with self._lock:
            self._faults.update(dict.fromkeys(faults, 0))

    def clear(self) -> None:
        """No fault strikes any more. A device that broke stays broken: only a restart mends it."""
        with self._lock:
            self._faults.clear()

    def strike(
        self, kind: Kind, *, class_type: str | None = None, prompt_id: str = "", prompt: Mapping[str, Any] | None = None
    ) -> Fault | None:
        """The fault of this kind that strikes on this occasion, which is counted."""
        if not self._faults:
            return None
        with self._lock:
            for fault, had in self._faults.items():
                if fault.kind is kind and _concerns(fault, class_type, prompt_id, prompt or {}):
                    self._faults[fault] = had + 1
                    if had >= fault.skip and (fault.times is None or had < fault.skip + fault.times):
                        return fault
        return None

    def standing(self, kind: Kind) -> Sequence[Fault]:
        """Those of a kind that has no occasions."""
        if not self._faults:
            return ()
        with self._lock:
            return [fault for fault in self._faults if fault.kind is kind]

    def shown(self) -> list[dict[str, Any]]:
        """JSON of each, with the occasions that it has had."""
        with self._lock:
            return [{**asdict(fault), "occasions": had} for fault, had in self._faults.items()]


def _concerns(fault: Fault, class_type: str | None, prompt_id: str, prompt: Mapping[str, Any]) -> bool:
    if fault.class_type is not None and fault.class_type != class_type:
        return False
    return fault.text is None or fault.text == prompt_id or any(map(fault.text.__eq__, _texts(prompt)))


def _texts(prompt: Mapping[str, Any]) -> Iterable[str]:
    for node in prompt.values():
        for value in node["inputs"].values():
            if isinstance(value, str):
                yield value
