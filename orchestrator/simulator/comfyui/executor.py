"""The thread that executes prompts, one after the other.

It is apart from HTTP as in the real one: the server answers while a node runs, and goes on answering when this thread
does not.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from orchestrator.simulator.comfyui.announcer import Announcer
from orchestrator.simulator.comfyui.cache import NodeCache
from orchestrator.simulator.comfyui.execution import Execution
from orchestrator.simulator.comfyui.nodes import NodeClasses
from orchestrator.simulator.comfyui.queue import Item, PromptQueue
from orchestrator.simulator.comfyui.run import Machine, Stopped
from orchestrator.simulator.comfyui.sockets import Sockets


class Executor(threading.Thread):
    """Takes prompts from the queue until it is closed."""

    def __init__(self, machine: Machine, classes: NodeClasses, queue: PromptQueue, sockets: Sockets) -> None:
        super().__init__(name="comfyui-simulator-executor", daemon=True)
        self._machine = machine
        self._classes = classes
        self._queue = queue
        self._sockets = sockets
        self._cache = NodeCache(machine.residency.alive)
        self._announcer: Announcer | None = None

    def executing_for(self, client_id: str) -> str | None:
        """The node that executes, if it does for this client."""
        announcer = self._announcer
        return announcer.last_node_id if announcer is not None and announcer.client_id == client_id else None

    def run(self) -> None:
        while not self._queue.closed:
            item = self._queue.take()
            if item is not None:
                try:
                    self._execute(item)
                except Stopped:
                    return
            self._free(self._queue.take_flags())

    def _execute(self, item: Item) -> None:
        self._machine.interrupt.clear()
        self._announcer = announcer = Announcer(item, self._sockets)
        outcome = Execution(item, self._machine, self._classes, self._cache, announcer).run()
        self._announcer = None
        self._queue.done(item, outcome)
        announcer.ended()

    def _free(self, flags: Mapping[str, bool]) -> None:
        free_memory = flags.get("free_memory", False)
        if flags.get("unload_models", free_memory):
            self._machine.residency.empty_vram()
        if free_memory:
            self._cache.clear()
            self._machine.residency.keep(())
