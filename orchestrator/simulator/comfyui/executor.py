"""The thread that executes prompts, one after the other.

It is apart from HTTP as in the real one: the server answers while a node runs, and goes on answering when this thread
does not.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping

from orchestrator.simulator.comfyui.announcer import Announcer
from orchestrator.simulator.comfyui.breakage import Breakage
from orchestrator.simulator.comfyui.cache import NodeCache
from orchestrator.simulator.comfyui.execution import Execution
from orchestrator.simulator.comfyui.nodes import NodeClasses
from orchestrator.simulator.comfyui.queue import Item, PromptQueue
from orchestrator.simulator.comfyui.run import Machine, Stopped
from orchestrator.simulator.comfyui.sockets import Sockets

COLLECT_INTERVAL, IDLE_WAIT = 10.0, 1000.0
"""Seconds, as in ComfyUI: between two garbage collections, and that it waits for a prompt before it looks around."""


class Executor(threading.Thread):
    """Takes prompts from the queue until it is closed."""

    def __init__(self, machine: Machine, classes: NodeClasses, queue: PromptQueue, sockets: Sockets) -> None:
        super().__init__(name="comfyui-simulator-executor", daemon=True)
        self._machine = machine
        self._classes = classes
        self._queue = queue
        self._sockets = sockets
        self._cache = NodeCache(machine.residency.alive)
        self._breakage = Breakage(machine, sockets)
        self._collected_at = -math.inf
        self._garbage = False
        self._announcer: Announcer | None = None

    def executing_for(self, client_id: str) -> str | None:
        """The node that executes, if it does for this client."""
        announcer = self._announcer
        return announcer.last_node_id if announcer is not None and announcer.client_id == client_id else None

    def run(self) -> None:
        """ComfyUI's prompt_worker, down to when it collects garbage: what comes meanwhile wakes nobody up."""
        try:
            while not self._queue.closed:
                since = time.monotonic() - self._collected_at
                item = self._queue.take(max(COLLECT_INTERVAL - since, 0.0) if self._garbage else IDLE_WAIT)
                if item is not None:
                    if self._breakage.kills_thread(item):
                        return
                    self._execute(item)
                    self._garbage = True
                self._free(self._queue.take_flags())
                self._collect()
        except Stopped:
            return

    def _collect(self) -> None:
        if self._garbage and time.monotonic() - self._collected_at > COLLECT_INTERVAL:
            self._machine.wait(self._machine.config.collect_seconds)
            self._collected_at = time.monotonic()
            self._garbage = False

    def _execute(self, item: Item) -> None:
        self._machine.interrupt.clear()
        self._announcer = announcer = Announcer(item, self._sockets)
        outcome = Execution(item, self._machine, self._classes, self._cache, announcer, self._breakage).run()
        self._announcer = None
        outcome, keep = self._breakage.after_prompt(item, outcome)
        self._queue.done(item, outcome, keep)
        announcer.ended()

    def _free(self, flags: Mapping[str, bool]) -> None:
        free_memory = flags.get("free_memory", False)
        if flags.get("unload_models", free_memory):
            self._machine.residency.empty_vram()
        if flags:
            self._garbage, self._collected_at = True, -math.inf
        if free_memory:
            self._cache.clear()
            self._machine.residency.keep(())
