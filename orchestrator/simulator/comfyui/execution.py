"""One prompt, from execution_start to its history entry."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from typing import Any

from orchestrator.simulator.comfyui.announcer import Announcer
from orchestrator.simulator.comfyui.breakage import Breakage, OutOfMemoryError, tips_for
from orchestrator.simulator.comfyui.cache import CachedResult, NodeCache, is_link, loads_of, signatures
from orchestrator.simulator.comfyui.config import GIB
from orchestrator.simulator.comfyui.nodes import NodeClass, NodeClasses, Shown
from orchestrator.simulator.comfyui.order import ExecutionOrder
from orchestrator.simulator.comfyui.queue import Item
from orchestrator.simulator.comfyui.run import Interrupted, Machine, Run
from orchestrator.simulator.comfyui.validation import type_name

logger = logging.getLogger(__name__)

PLENTY_OF_RAM = 128 * GIB
PREVIEW_METHODS = frozenset({"auto", "latent2rgb", "taesd"})


class _NodeFailed(Exception):
    """A node raised; `inputs` are those that had been found by then."""

    def __init__(self, node_id: str, cause: Exception, inputs: dict[str, object]) -> None:
        super().__init__(node_id)
        self.node_id = node_id
        self.cause = cause
        self.inputs = inputs


class Execution:
    """Executes the nodes that the outputs need and the cache does not have."""

    def __init__(
        self,
        item: Item,
        machine: Machine,
        classes: NodeClasses,
        cache: NodeCache,
        announcer: Announcer,
        breakage: Breakage,
    ) -> None:
        self._item = item
        self._machine = machine
        self._classes = classes
        self._cache = cache
        self._announcer = announcer
        self._breakage = breakage
        self._executed: list[str] = []
        self._results: dict[str, tuple[object, ...]] = {}
        self._shown: dict[str, Mapping[str, Any]] = {}
        asked = machine.config.profile.reads_extra_data and item.extra_data.get("preview_method") in PREVIEW_METHODS
        extra_data = {**item.extra_data, **item.sensitive}
        self._run = Run(machine, item.prompt, extra_data, asked, announcer.progress)

    def run(self) -> dict[str, Any]:
        """Returns what history keeps beside the prompt."""
        self._announcer.tell("execution_start", {})
        self._open_cache()
        cached = [node_id for node_id in self._item.prompt if self._cache.get(node_id) is not None]
        self._announcer.tell("execution_cached", {"nodes": cached})
        try:
            self._execute()
            self._announcer.tell("execution_success", {})
            completed = True
        except _NodeFailed as failure:
            self._tell_failure(failure)
            completed = False
        status = {"status_str": "success" if completed else "error", "completed": completed}
        return {
            "outputs": {node_id: shown["output"] for node_id, shown in self._shown.items()},
            "status": {**status, "messages": self._announcer.history},
            "meta": {node_id: shown["meta"] for node_id, shown in self._shown.items()},
        }

    def _open_cache(self) -> None:
        """Forget results and models of earlier prompts, unless there is RAM for them.

        ComfyUI wants as much free as min(128 GiB, all of it) before it keeps what the prompt at hand does not name.
        """
        config, residency = self._machine.config, self._machine.residency
        plenty = config.profile.cache_by_memory and config.ram_bytes - residency.ram_used >= PLENTY_OF_RAM
        self._cache.begin(signatures(self._item.prompt, self._fingerprint), keep_old=plenty)
        if not plenty:
            residency.keep(self._cache.loads())

    def _execute(self) -> None:
        order = ExecutionOrder(
            self._item.prompt,
            lambda node_id: self._class(node_id).is_output,
            lambda node_id: self._cache.get(node_id) is not None,
        )
        for output in self._item.outputs:
            order.add(output)
        while order:
            node_id = order.next()
            self._node(node_id)
            order.finish(node_id)

    def _node(self, node_id: str) -> None:
        cached = self._cache.get(node_id)
        if cached is not None:  # only an output is asked for although it is cached
            if cached.shown is not None:
                self._shown[node_id] = cached.shown
            self._announcer.executed(node_id, cached.shown["output"] if cached.shown else None)
            self._announcer.finished(node_id)
            return
        self._announcer.started(node_id)
        self._announcer.executing(node_id)
        result = self._call(node_id)
        if result.ui:
            self._show(node_id, result.ui)
        self._results[node_id] = result.outputs
        self._cache.set(node_id, CachedResult(result.outputs, self._shown.get(node_id), loads_of(result.outputs)))
        self._announcer.finished(node_id)
        self._executed.append(node_id)

    def _call(self, node_id: str) -> Shown:
        node_class = self._class(node_id)
        inputs: dict[str, object] = {}
        self._run.node_id = node_id
        try:
            for name, value in self._item.prompt[node_id]["inputs"].items():
                if is_link(value):
                    inputs[name] = self._output_of(*value)
                elif name in node_class.required or name in node_class.optional:
                    inputs[name] = value
            self._machine.interrupt.check()
            self._breakage.before_node(self._item, node_class)
            result = node_class.implementation.function(self._run, **inputs)
        except Exception as error:
            raise _NodeFailed(node_id, error, inputs) from error
        return result if isinstance(result, Shown) else Shown(result, {})

    def _output_of(self, node_id: str, slot: int) -> object:
        if node_id in self._results:
            return self._results[node_id][slot]
        cached = self._cache.get(node_id)
        if cached is None:
            raise LookupError(f"the result of node {node_id} has left the cache")
        return cached.outputs[slot]

    def _show(self, node_id: str, ui: Mapping[str, Any]) -> None:
        meta = {"node_id": node_id, "display_node": node_id, "parent_node": None, "real_node_id": node_id}
        self._shown[node_id] = {"meta": meta, "output": {kind: list(entries) for kind, entries in ui.items()}}
        self._announcer.executed(node_id, self._shown[node_id]["output"])

    def _tell_failure(self, failure: _NodeFailed) -> None:
        node_class = self._class(failure.node_id)
        about = {"node_id": failure.node_id, "node_type": node_class.name, "executed": list(self._executed)}
        if isinstance(failure.cause, Interrupted):
            self._announcer.tell("execution_interrupted", about, everyone=True)
            return
        logger.warning("node %s failed", failure.node_id, exc_info=failure.cause)
        if isinstance(failure.cause, OutOfMemoryError):
            self._machine.residency.empty_vram()
        hidden = {"PROMPT": self._item.prompt, "EXTRA_PNGINFO": self._item.extra_data.get("extra_pnginfo")}
        inputs = failure.inputs | {name: hidden[kind] for name, kind in node_class.hidden.items()}
        details = {
            "exception_message": f"{failure.cause}\n{tips_for(failure.cause)}",
            "exception_type": type_name(failure.cause),
            "traceback": traceback.format_tb(failure.cause.__traceback__),
            "current_inputs": {name: [_formatted(value)] for name, value in inputs.items()},
            "current_outputs": list(self._item.prompt),
        }
        self._announcer.tell("execution_error", about | details)

    def _fingerprint(self, node_id: str) -> object:
        fingerprint = self._class(node_id).implementation.fingerprint
        if fingerprint is None:
            return False
        try:
            return fingerprint(self._machine.files, **self._item.prompt[node_id]["inputs"])
        except (OSError, ValueError, TypeError) as error:
            logger.warning("WARNING: %s", error)
            return float("nan")

    def _class(self, node_id: str) -> NodeClass:
        return self._classes[self._item.prompt[node_id]["class_type"]]


def _formatted(value: object) -> object:
    return value if value is None or isinstance(value, int | float | bool | str) else str(value)
