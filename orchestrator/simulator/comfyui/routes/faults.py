"""Ours alone: the ways in which this simulator fails. POST a list of faults to add them, DELETE to fail no more."""

from __future__ import annotations

import json

from aiohttp import web

from orchestrator.simulator.comfyui.faults import BadFault, Fault
from orchestrator.simulator.comfyui.routes.context import Sim


def routes(sim: Sim) -> list[web.RouteDef]:
    handlers = FaultRoutes(sim)
    return [
        web.get("/simulator/faults", handlers.list),
        web.post("/simulator/faults", handlers.add),
        web.delete("/simulator/faults", handlers.clear),
    ]


class FaultRoutes:
    def __init__(self, sim: Sim) -> None:
        self._sim = sim

    async def list(self, request: web.Request) -> web.Response:
        return web.json_response(self._sim.machine.faults.shown())

    async def add(self, request: web.Request) -> web.Response:
        try:
            documents = await request.json()
            if not isinstance(documents, list):
                raise BadFault("send a list of faults")
            self._sim.fail([Fault.parse(document) for document in documents])
        except (BadFault, json.JSONDecodeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(self._sim.machine.faults.shown())

    async def clear(self, request: web.Request) -> web.Response:
        self._sim.heal()
        return web.Response()
