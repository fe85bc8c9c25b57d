"""ComfyUI's prompt queue and history: in memory, behind one lock, shared by HTTP and the executing thread."""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

MAX_HISTORY = 10_000


class Item(NamedTuple):
    """A prompt that waits or runs; ordered by number, then id. The first five are what clients see."""

    number: float
    prompt_id: str
    prompt: Mapping[str, Any]
    extra_data: Mapping[str, Any]
    outputs: list[str]
    sensitive: Mapping[str, Any]

    def shown(self) -> list[Any]:
        return list(self[:5])


class PromptQueue:
    """Calls `updated` after every change of its length, from whichever thread made it."""

    def __init__(self, updated: Callable[[], None]) -> None:
        self._updated = updated
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._pending: list[Item] = []
        self._running: Item | None = None
        self._history: dict[str, dict[str, Any]] = {}
        self._flags: dict[str, bool] = {}
        self._closed = False
        self.spans: deque[tuple[int, int]] = deque(maxlen=MAX_HISTORY)
        """When each prompt began and ended (Unix ms), kept although clients delete their history."""

    def put(self, item: Item) -> None:
        with self._lock:
            heapq.heappush(self._pending, item)
            self._updated()
            self._changed.notify()

    def take(self, timeout: float | None = None) -> Item | None:
        """Wait for the next item, which then counts as running; None when it was woken for something else.

        As in ComfyUI a flag that is set wakes whoever waits here, and nobody otherwise; and a prompt goes first.
        """
        with self._lock:
            if not (self._pending or self._closed):
                self._changed.wait(timeout)
            if self._closed or not self._pending:
                return None
            self._running = heapq.heappop(self._pending)
            self._updated()
            return self._running

    def done(self, item: Item, outcome: Mapping[str, Any], keep: bool = True) -> None:
        """Move the running item to history, with what ComfyUI calls outputs, meta and status, or (not keep) drop it."""
        with self._lock:
            self._running = None
            if len(self._history) > MAX_HISTORY:
                del self._history[next(iter(self._history))]
            if keep:
                self._history[item.prompt_id] = {"prompt": item.shown(), **outcome}
            messages = outcome["status"]["messages"]
            self.spans.append((messages[0][1]["timestamp"], messages[-1][1]["timestamp"]))
            self._updated()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._changed.notify()

    @property
    def closed(self) -> bool:
        return self._closed

    def remaining(self) -> int:
        with self._lock:
            return len(self._pending) + (self._running is not None)

    def info(self) -> dict[str, Any]:
        """What `status` messages and GET /prompt say."""
        return {"exec_info": {"queue_remaining": self.remaining()}}

    def snapshot(self) -> tuple[list[Item], list[Item]]:
        """What runs, and what waits in heap order, as ComfyUI lists it."""
        with self._lock:
            return [self._running] if self._running else [], list(self._pending)

    def if_running(self, prompt_id: str, act: Callable[[], None]) -> bool:
        """Act while this prompt is sure to be the running one; whether it was."""
        with self._lock:
            if self._running is None or self._running.prompt_id != prompt_id:
                return False
            act()
            return True

    def clear(self) -> None:
        with self._lock:
            self._pending.clear()
            self._updated()

    def delete(self, prompt_id: str) -> bool:
        """Take the first waiting item with this id away; whether there was one."""
        with self._lock:
            for index, item in enumerate(self._pending):
                if item.prompt_id == prompt_id:
                    if len(self._pending) == 1:
                        self.clear()
                    else:
                        del self._pending[index]
                        heapq.heapify(self._pending)
                    self._updated()
                    return True
            return False

    def history(self, max_items: int | None = None, offset: int = -1) -> dict[str, Any]:
        with self._lock:
            if offset < 0 and max_items is not None:
                offset = len(self._history) - max_items
            start = max(offset, 0)
            end = None if max_items is None else start + max(max_items, 1)
            return dict(list(self._history.items())[start:end])

    def history_of(self, prompt_id: str) -> dict[str, Any]:
        with self._lock:
            return {prompt_id: self._history[prompt_id]} if prompt_id in self._history else {}

    def clear_history(self) -> None:
        with self._lock:
            self._history.clear()

    def delete_history(self, prompt_id: str) -> None:
        with self._lock:
            self._history.pop(prompt_id, None)

    def set_flag(self, name: str, value: bool) -> None:
        with self._lock:
            self._flags[name] = value
            self._changed.notify()

    def take_flags(self) -> dict[str, bool]:
        with self._lock:
            flags, self._flags = self._flags, {}
            return flags
