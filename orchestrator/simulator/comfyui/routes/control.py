"""Prompts, queue, history, interrupts, memory, and the websocket."""

from __future__ import annotations

import json
import logging
import time
import uuid
from typing import Any

from aiohttp import WSMsgType, web

from orchestrator.simulator.comfyui.faults import Kind
from orchestrator.simulator.comfyui.messages import Message
from orchestrator.simulator.comfyui.queue import Item
from orchestrator.simulator.comfyui.routes.context import Sim
from orchestrator.simulator.comfyui.validation import validate

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 1.0
"""How long the end of a socket waits for a client that does not answer."""
SENSITIVE = ("auth_token_comfy_org", "api_key_comfy_org")


def routes(sim: Sim) -> list[web.RouteDef]:
    control = Control(sim)
    return [
        web.get("/ws", control.websocket),
        web.get("/prompt", control.remaining),
        web.post("/prompt", control.submit),
        web.get("/queue", control.list_queue),
        web.post("/queue", control.change_queue),
        web.get("/history", control.list_history),
        web.get("/history/{prompt_id}", control.history_of),
        web.post("/history", control.change_history),
        web.post("/interrupt", control.interrupt),
        web.post("/free", control.free),
    ]


class Control:
    def __init__(self, sim: Sim) -> None:
        self._sim = sim
        self._queue = sim.queue
        self._profile = sim.machine.config.profile

    async def submit(self, request: web.Request) -> web.Response:
        body = await request.json()
        number = self._number(body)
        if "prompt" not in body:
            return _refused("no_prompt", "No prompt provided", "No prompt provided")
        prompt_id = self._prompt_id(body)
        if prompt_id is None:
            details = (
                "prompt_id must be a UUID string in canonical lowercase hyphenated form; "
                "omit it to let the server generate one"
            )
            return _refused("invalid_prompt_id", "prompt_id must be a valid UUID", details)
        prompt = body["prompt"]
        targets = body.get("partial_execution_targets")
        verdict = validate(prompt, targets, self._sim.classes, self._sim.machine.files, self._profile)
        if verdict.error is not None:
            return web.json_response({"error": verdict.error, "node_errors": verdict.node_errors}, status=400)
        extra_data = body.get("extra_data", {})
        if "client_id" in body:
            extra_data["client_id"] = body["client_id"]
        sensitive = {key: extra_data.pop(key) for key in SENSITIVE if key in extra_data}
        if self._profile.reads_extra_data:
            extra_data["create_time"] = int(time.time() * 1000)
        self._queue.put(Item(number, prompt_id, prompt, extra_data, verdict.outputs, sensitive))
        if self._sim.machine.faults.strike(Kind.LOSE_ANSWER, prompt_id=prompt_id, prompt=prompt):
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors})

    def _number(self, body: dict[str, Any]) -> float:
        if "number" in body:
            return float(body["number"])
        number = -self._sim.number if body.get("front") else self._sim.number
        self._sim.number += 1
        return number

    def _prompt_id(self, body: dict[str, Any]) -> str | None:
        """None for one that this version refuses."""
        if not self._profile.strict_prompt_ids:
            return str(body.get("prompt_id", uuid.uuid4()))
        given = body.get("prompt_id")
        if given is None:
            return str(uuid.uuid4())
        return given if is_canonical_uuid(given) else None

    async def remaining(self, request: web.Request) -> web.Response:
        return web.json_response(self._queue.info())

    async def list_queue(self, request: web.Request) -> web.Response:
        running, pending = self._queue.snapshot()
        return web.json_response(
            {
                "queue_running": [item.shown() for item in running],
                "queue_pending": [item.shown() for item in pending],
            }
        )

    async def change_queue(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("clear"):
            self._queue.clear()
        for prompt_id in body.get("delete", ()):
            self._queue.delete(prompt_id)
        return web.Response()

    async def list_history(self, request: web.Request) -> web.Response:
        query = request.query
        max_items = int(query["max_items"]) if "max_items" in query else None
        return web.json_response(self._queue.history(max_items, int(query.get("offset", -1))))

    async def history_of(self, request: web.Request) -> web.Response:
        return web.json_response(self._queue.history_of(request.match_info["prompt_id"]))

    async def change_history(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("clear"):
            self._queue.clear_history()
        for prompt_id in body.get("delete", ()):
            self._queue.delete_history(prompt_id)
        return web.Response()

    async def interrupt(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
        except json.JSONDecodeError:
            body = {}
        prompt_id = body.get("prompt_id")
        if prompt_id:
            self._queue.if_running(prompt_id, self._sim.machine.interrupt.set)
        else:
            self._sim.machine.interrupt.set()
        return web.Response()

    async def free(self, request: web.Request) -> web.Response:
        body = await request.json()
        for flag in ("unload_models", "free_memory"):
            if body.get(flag):
                self._queue.set_flag(flag, True)
        return web.Response()

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(timeout=CLOSE_SECONDS)
        await socket.prepare(request)
        assert request.transport is not None
        client_id = request.query.get("clientId") or uuid.uuid4().hex
        sockets, executor = self._sim.sockets, self._sim.executor
        sockets.add(client_id, socket)
        try:
            await sockets.send(Message("status", {"status": self._queue.info(), "sid": client_id}, client_id))
            if (node_id := executor.executing_for(client_id)) is not None:
                await sockets.send(Message("executing", {"node": node_id}, client_id))
            with sockets.droppable(request.transport.abort):
                await self._listen(socket, client_id)
        finally:
            sockets.remove(client_id)
        return socket

    async def _listen(self, socket: web.WebSocketResponse, client_id: str) -> None:
        """Only the first message means anything, and only if it is about feature flags."""
        first = True
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            try:
                data = json.loads(message.data)
            except json.JSONDecodeError:
                logger.warning("Invalid JSON received from client %s", client_id)
                continue
            if first and isinstance(data, dict) and data.get("type") == "feature_flags":
                self._sim.sockets.set_flags(client_id, data.get("data", {}))
                await self._sim.sockets.send(Message("feature_flags", self._sim.features(), client_id))
            first = False


def is_canonical_uuid(value: object) -> bool:
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value
    except ValueError:
        return False


def _refused(kind: str, message: str, details: str) -> web.Response:
    error = {"type": kind, "message": message, "details": details, "extra_info": {}}
    return web.json_response({"error": error, "node_errors": {}}, status=400)
