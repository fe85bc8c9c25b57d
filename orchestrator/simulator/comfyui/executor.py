"""The thread that executes prompts, one after the other, and says what it does in ComfyUI's words.

It is apart from HTTP as in the real one: the server answers while a node runs, and goes on answering when this thread
does not.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.simulator.comfyui.cache import CachedResult, NodeCache, is_link, loads_of, signatures
from orchestrator.simulator.comfyui.config import GIB
from orchestrator.simulator.comfyui.messages import Message
from orchestrator.simulator.comfyui.nodes import NodeClasses, Shown
from orchestrator.simulator.comfyui.order import ExecutionOrder
from orchestrator.simulator.comfyui.queue import Item, PromptQueue
from orchestrator.simulator.comfyui.run import Interrupted, Machine, Preview, Run, Stopped
from orchestrator.simulator.comfyui.sockets import Sockets
from orchestrator.simulator.comfyui.validation import type_name

logger = logging.getLogger(__name__)

PLENTY_OF_RAM = 128 * GIB


class Executor(threading.Thread):
    """Takes prompts from the queue until it is closed."""

    def __init__(self, machine: Machine, classes: NodeClasses, queue: PromptQueue, sockets: Sockets) -> None:
        super().__init__(name="comfyui-simulator-executor", daemon=True)
        self._machine = machine
        self._classes = classes
        self._queue = queue
        self._sockets = sockets
        self._cache = NodeCache(machine.residency.alive)
        self.client_id: str | None = None
        """Who gets the messages of the newest prompt."""
        self.last_node_id: str | None = None

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
        self.client_id = item.extra_data.get("client_id")
        execution = _Execution(item, self._machine, self._classes, self._cache, self._send, self._sockets)
        execution.executing = self._now_executing
        outcome = execution.run()
        self.last_node_id = None
        self._queue.done(item, outcome)
        if self.client_id is not None:
            self._send("executing", {"node": None, "prompt_id": item.prompt_id})

    def _now_executing(self, node_id: str) -> None:
        self.last_node_id = node_id

    def _send(self, event: str, data: Mapping[str, Any], preview: Preview | None = None) -> None:
        self._sockets.post(Message(event, data, self.client_id, preview))

    def _free(self, flags: Mapping[str, bool]) -> None:
        free_memory = flags.get("free_memory", False)
        if flags.get("unload_models", free_memory):
            self._machine.residency.empty_vram()
        if free_memory:
            self._cache.clear()
            self._machine.residency.keep(())


class _NodeFailed(Exception):
    """A node raised: carries ComfyUI's description of it."""

    def __init__(self, node_id: str, cause: Exception, inputs: dict[str, object]) -> None:
        super().__init__(node_id)
        self.node_id = node_id
        self.cause = cause
        self.inputs = inputs


Send = Callable[..., None]


class _Execution:
    """One prompt, from execution_start to its history entry."""

    def __init__(
        self,
        item: Item,
        machine: Machine,
        classes: NodeClasses,
        cache: NodeCache,
        send: Send,
        sockets: Sockets,
    ) -> None:
        self._item = item
        self._prompt = item.prompt
        self._machine = machine
        self._classes = classes
        self._cache = cache
        self._send = send
        self._sockets = sockets
        self._client_id: str | None = item.extra_data.get("client_id")
        self._messages: list[tuple[str, dict[str, Any]]] = []
        self._progress: dict[str, dict[str, Any]] = {}
        self._shown: dict[str, Mapping[str, Any]] = {}
        self._results: dict[str, tuple[object, ...]] = {}
        self._executed: list[str] = []
        self.executing: Callable[[str], None] = lambda _: None
        previews = machine.config.profile.reads_extra_data and item.extra_data.get("preview_method") in (
            "auto",
            "latent2rgb",
            "taesd",
        )
        self._run = Run(machine, item.prompt, {**item.extra_data, **item.sensitive}, previews, self._report)

    def run(self) -> dict[str, Any]:
        """Execute it; returns what history keeps of it."""
        self._tell("execution_start", {})
        self._begin()
        cached = [node_id for node_id in self._prompt if self._cache.get(node_id) is not None]
        self._tell("execution_cached", {"nodes": cached})
        completed = self._nodes()
        if completed:
            self._tell("execution_success", {})
        return {
            "outputs": {node_id: shown["output"] for node_id, shown in self._shown.items()},
            "status": {
                "status_str": "success" if completed else "error",
                "completed": completed,
                "messages": self._messages,
            },
            "meta": {node_id: shown["meta"] for node_id, shown in self._shown.items()},
        }

    def _begin(self) -> None:
        """Forget results and models of earlier prompts, unless there is RAM for them.

        ComfyUI wants as much free as min(128 GiB, all of it) before it keeps what the prompt at hand does not name.
        """
        config, residency = self._machine.config, self._machine.residency
        plenty = config.profile.cache_by_memory and config.ram_bytes - residency.ram_used >= PLENTY_OF_RAM
        self._cache.begin(signatures(self._prompt, self._fingerprint), keep_old=plenty)
        if not plenty:
            residency.keep(self._cache.loads())

    def _nodes(self) -> bool:
        order = ExecutionOrder(
            self._prompt,
            lambda node_id: self._classes[self._prompt[node_id]["class_type"]].is_output,
            lambda node_id: self._cache.get(node_id) is not None,
        )
        for output in self._item.outputs:
            order.add(output)
        try:
            while order:
                node_id = order.next()
                self._node(node_id)
                order.finish(node_id)
        except _NodeFailed as failure:
            self._tell_failure(failure)
            return False
        return True

    def _node(self, node_id: str) -> None:
        cached = self._cache.get(node_id)
        if cached is not None:
            self._show_cached(node_id, cached)
            self._set_progress(node_id, "finished", 1, 1)
            return
        self._set_progress(node_id, "running", 0.0, 1.0)
        if self._client_id is not None:
            self.executing(node_id)
            self._send("executing", {**self._about(node_id), "prompt_id": self._item.prompt_id})
        outputs, ui = self._call(node_id)
        shown = self._show(node_id, ui) if ui else None
        self._results[node_id] = outputs
        self._cache.set(node_id, CachedResult(outputs, shown, loads_of(outputs)))
        maximum = self._progress[node_id]["max"]
        self._set_progress(node_id, "finished", maximum, maximum)
        self._executed.append(node_id)

    def _call(self, node_id: str) -> tuple[tuple[object, ...], Mapping[str, Any]]:
        node = self._prompt[node_id]
        node_class = self._classes[node["class_type"]]
        inputs: dict[str, object] = {}
        self._run.node_id = node_id
        try:
            inputs = {
                name: self._output_of(*value) if is_link(value) else value
                for name, value in node["inputs"].items()
                if is_link(value) or name in node_class.required or name in node_class.optional
            }
            self._machine.interrupt.check()
            result = node_class.implementation.function(self._run, **inputs)
        except Exception as error:
            raise _NodeFailed(node_id, error, inputs) from error
        return (result.outputs, result.ui) if isinstance(result, Shown) else (result, {})

    def _output_of(self, node_id: str, slot: int) -> object:
        if node_id in self._results:
            return self._results[node_id][slot]
        cached = self._cache.get(node_id)
        if cached is None:
            raise LookupError(f"the result of node {node_id} has left the cache")
        return cached.outputs[slot]

    def _fingerprint(self, node_id: str) -> object:
        node = self._prompt[node_id]
        fingerprint = self._classes[node["class_type"]].implementation.fingerprint
        if fingerprint is None:
            return False
        try:
            return fingerprint(self._machine.files, **node["inputs"])
        except (OSError, ValueError, TypeError) as error:
            logger.warning("WARNING: %s", error)
            return float("nan")

    def _hidden(self, node_id: str) -> dict[str, object]:
        sources = {"PROMPT": self._prompt, "EXTRA_PNGINFO": self._item.extra_data.get("extra_pnginfo")}
        node_class = self._classes[self._prompt[node_id]["class_type"]]
        return {name: sources[kind] for name, kind in node_class.hidden.items()}

    def _about(self, node_id: str) -> dict[str, str]:
        return {"node": node_id, "display_node": node_id}

    def _show(self, node_id: str, ui: Mapping[str, Any]) -> Mapping[str, Any]:
        meta = {"node_id": node_id, "display_node": node_id, "parent_node": None, "real_node_id": node_id}
        shown = {"meta": meta, "output": {key: list(values) for key, values in ui.items()}}
        self._shown[node_id] = shown
        self._send_executed(node_id, shown["output"])
        return shown

    def _show_cached(self, node_id: str, cached: CachedResult) -> None:
        if cached.shown is not None:
            self._shown[node_id] = cached.shown
        self._send_executed(node_id, cached.shown["output"] if cached.shown else None)

    def _send_executed(self, node_id: str, output: object) -> None:
        if self._client_id is not None:
            data = {**self._about(node_id), "output": output, "prompt_id": self._item.prompt_id}
            self._send("executed", data)

    def _report(self, node_id: str, value: int, maximum: int, preview: Preview | None) -> None:
        self._set_progress(node_id, "running", value, maximum)
        with_metadata = self._sockets.supports(self._client_id, "supports_preview_metadata")
        if preview is not None and with_metadata:
            self._send("preview", self._progress_identity(node_id), preview)
        prompt_id = self._item.prompt_id
        self._send("progress", {"value": value, "max": maximum, "prompt_id": prompt_id, "node": node_id})
        if preview is not None and not with_metadata:
            self._send("preview", {}, preview)

    def _set_progress(self, node_id: str, state: str, value: float, maximum: float) -> None:
        self._progress[node_id] = {
            "value": value,
            "max": maximum,
            "state": state,
            **self._progress_identity(node_id),
        }
        self._send("progress_state", {"prompt_id": self._item.prompt_id, "nodes": dict(self._progress)})

    def _progress_identity(self, node_id: str) -> dict[str, Any]:
        return {
            "node_id": node_id,
            "prompt_id": self._item.prompt_id,
            "display_node_id": node_id,
            "parent_node_id": None,
            "real_node_id": node_id,
        }

    def _tell(self, event: str, data: Mapping[str, Any], everyone: bool = False) -> None:
        """A message that history keeps as well."""
        stamped = {"prompt_id": self._item.prompt_id, **data, "timestamp": int(time.time() * 1000)}
        self._messages.append((event, stamped))
        if self._client_id is not None or everyone:
            self._send(event, stamped)

    def _tell_failure(self, failure: _NodeFailed) -> None:
        about = {
            "node_id": failure.node_id,
            "node_type": self._prompt[failure.node_id]["class_type"],
            "executed": list(self._executed),
        }
        if isinstance(failure.cause, Interrupted):
            self._tell("execution_interrupted", about, everyone=True)
            return
        logger.warning("node %s failed", failure.node_id, exc_info=failure.cause)
        details = {
            "exception_message": f"{failure.cause}\n",
            "exception_type": type_name(failure.cause),
            "traceback": traceback.format_tb(failure.cause.__traceback__),
            "current_inputs": {
                name: [_formatted(value)] for name, value in (failure.inputs | self._hidden(failure.node_id)).items()
            },
            "current_outputs": list(self._prompt),
        }
        self._tell("execution_error", about | details)


def _formatted(value: object) -> object:
    return value if value is None or isinstance(value, int | float | bool | str) else str(value)
