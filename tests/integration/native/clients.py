"""What tests of the native door share: a client that hears, and what two transcripts have in common."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.contract.driver import parse

Json = Any
PATIENCE_S = 30.0
_PLACE = re.compile(r"^fleet/[^/]+/?")
_COUNTER = re.compile(r"_\d{5}_?")


class NativeClient:
    """One client of ComfyUI, with a clientId, connections of its own, and a socket once it is connected."""

    def __init__(self, http: aiohttp.ClientSession, client_id: str) -> None:
        self.http = http
        self.client_id = client_id
        self.heard: list[Json] = []
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    async def connect(self, flags: Mapping[str, Any] | None = None) -> None:
        self._socket = await self.http.ws_connect(f"/ws?clientId={self.client_id}", max_msg_size=0)
        if flags is not None:
            await self._socket.send_json({"type": "feature_flags", "data": flags})

    async def post(self, path: str, body: Json = None) -> Json:
        async with self.http.post(path, json={} if body is None else body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json() if answer.content_type == "application/json" else None

    async def get(self, path: str) -> Json:
        async with self.http.get(path) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def upload(self, data: bytes, name: str, content_type: str = "image/png", **fields: str) -> Json:
        form = aiohttp.FormData()
        for key, value in fields.items():
            form.add_field(key, value)
        form.add_field("image", data, filename=name, content_type=content_type)
        async with self.http.post("/upload/mask" if "original_ref" in fields else "/upload/image", data=form) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def view(self, **query: str) -> tuple[int, bytes]:
        async with self.http.get("/view", params=query) as answer:
            return answer.status, await answer.read()

    async def submit(self, prompt: Json, **body: Json) -> str:
        return (await self.post("/prompt", {"prompt": prompt, "client_id": self.client_id, **body}))["prompt_id"]

    async def hear(self, until: Callable[[Json], bool]) -> Json:
        """Hears up to such a message; all that was ever heard is in `heard`. None: the connection ended."""
        assert self._socket is not None
        async with asyncio.timeout(PATIENCE_S):
            while True:
                said = await self._socket.receive()
                if said.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    return None
                message = parse(said)
                self.heard.append(message)
                if until(message):
                    return message

    async def finish(self, prompt_id: str) -> Json:
        """Hears a prompt to its end; answers its entry in the history."""
        await self.hear(lambda message: ends(message, prompt_id))
        return (await self.get(f"/history/{prompt_id}"))[prompt_id]


@asynccontextmanager
async def native_client(base: str, client_id: str) -> AsyncIterator[NativeClient]:
    async with aiohttp.ClientSession(base) as http:
        yield NativeClient(http, client_id)


def ends(message: Json, prompt_id: str) -> bool:
    data = message.get("data", {})
    return message["type"] == "executing" and data["node"] is None and data["prompt_id"] == prompt_id


def shown(source: str) -> Json:
    """A node that shows pictures and saves none."""
    return {"class_type": "PreviewImage", "inputs": {"images": [source, 0]}}


def about(message: Json) -> str | None:
    """The prompt that a message is about."""
    return message.get("data", message.get("metadata", {})).get("prompt_id")


def story(heard: list[Json]) -> list[tuple[Any, ...]]:
    """What happened, without how far it was in between."""
    told = [message for message in heard if message["type"] not in ("status", "progress", "progress_state")]
    return [(message["type"], message.get("data", {}).get("node")) for message in told]


def without_places(value: Json) -> Json:
    """Where files lie, and what number they have there, is the fleet's own."""
    if isinstance(value, dict):
        if "filename" in value and "subfolder" in value:
            name = _COUNTER.sub("_", value["filename"])
            return {**value, "filename": name, "subfolder": _PLACE.sub("", value["subfolder"])}
        return {key: without_places(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_places(each) for each in value]
    return value
