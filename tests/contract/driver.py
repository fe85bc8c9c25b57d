"""Drives a ComfyUI, real or simulated, through a scenario; writes down what it says, without what differs by chance."""

from __future__ import annotations

import asyncio
import io
import json
import re
import struct
from collections.abc import Callable, Collection
from typing import Any

import aiohttp
from PIL import Image

Json = Any
PATIENCE = 600.0
"""Seconds that a real ComfyUI may take to load a model."""

BETWEEN = {
    "1": {"class_type": "PrimitiveString", "inputs": {"value": "between two scenarios"}},
    "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
}

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
SID = re.compile(r"^[0-9a-f]{32}$")
DIRECTORY = re.compile(r"(/[\w.+-]+)+/(?=(?:input|output|temp)\b)")
TEMP_LETTERS = re.compile(r"ComfyUI_temp_[a-z]{5}_")
PATH = re.compile(r"(/[\w.+-]+){2,}")
COMMON_PATH = re.compile(r"\n *commonpath: .*")
TIMES = frozenset({"timestamp", "create_time", "execution_start_time", "execution_end_time", "modified", "created"})
PROSE = frozenset({"description", "tooltip", "output_tooltips", "search_aliases", "price_badge", "essentials_category"})
UNORDERED = frozenset({"executed", "current_outputs", "dependent_outputs"})
HEADERS = ("Content-Type", "Content-Disposition", "X-Content-Type-Options", "Content-Range", "Accept-Ranges")


class Driver:
    """One scenario against one ComfyUI. What it did and heard is in `transcript`."""

    def __init__(self, session: aiohttp.ClientSession, version: str) -> None:
        self._session = session
        self.version = version
        self.transcript: list[Json] = []
        self._normal = Normalizer()
        self._sockets: dict[str, aiohttp.ClientWebSocketResponse] = {}

    async def __aenter__(self) -> Driver:
        """Have it forget what earlier scenarios left behind.

        /free only raises flags, which are seen when the executing thread is next between two prompts; so give it one.
        """
        await self._post("/history", {"clear": True})
        await self._post("/free", {"unload_models": True, "free_memory": True})
        await self._post("/prompt", {"prompt": BETWEEN})
        await self.finished()
        await self._post("/history", {"clear": True})
        return self

    async def __aexit__(self, *_: object) -> None:
        for socket in self._sockets.values():
            await socket.close()

    async def http(self, method: str, path: str, *, note: str = "", body: Json = None, **options: Any) -> Json:
        """Send a request, write the answer down, and return its body as it came."""
        async with self._session.request(method, path, json=body, **options) as answer:
            content = await answer.read()
            shown: Json
            if answer.content_type == "application/json":
                shown = value = json.loads(content)
                if isinstance(value, dict) and "number" in value:
                    self._normal.first_number(value["number"])
            elif answer.content_type in ("image/png", "image/jpeg", "image/webp"):
                shown, value = picture(content), content
            else:
                shown = value = content.decode(errors="replace")
            entry = {"request": f"{method} {path}{f' ({note})' if note else ''}", "status": answer.status}
            if method == "GET" and path.startswith("/view"):
                entry["headers"] = {key: answer.headers[key] for key in HEADERS if key in answer.headers}
            self.note({**entry, "body": shown})
            return value

    async def _post(self, path: str, body: Json) -> None:
        async with self._session.post(path, json=body) as answer:
            assert answer.status == 200

    async def fetch(self, path: str) -> Json:
        """An answer to choose from, of which nothing is written down."""
        async with self._session.get(path) as answer:
            return await answer.json()

    def note(self, entry: Json) -> None:
        self.transcript.append(self._normal(entry))

    async def connect(self, name: str, client_id: str | None = None) -> None:
        """Open a socket and hear its greeting; a client_id that is in use takes it over."""
        query = f"?clientId={client_id}" if client_id else ""
        self._sockets[name] = await self._session.ws_connect(f"/ws{query}", max_msg_size=0)
        await self.hear(name, lambda message: message.get("type") == "status")

    async def say(self, name: str, message: Json) -> None:
        await self._sockets[name].send_json(message)

    async def hear(self, name: str, until: Callable[[Json], bool], drop: Collection[str] = ()) -> Json:
        """Read a socket up to a message, write all down but those of types in `drop`, and return the last."""
        heard: list[Json] = []
        async with asyncio.timeout(PATIENCE):
            while True:
                message = parse(await self._sockets[name].receive())
                if message["type"] not in drop:
                    heard.append(message)
                if until(message):
                    break
        self.note({"socket": name, "heard": heard})
        return message

    async def finished(self, prompt_id: str = "") -> None:
        """Wait until a prompt, or any, is in history, without a socket and without a note."""
        async with asyncio.timeout(PATIENCE):
            while not await self.fetch(f"/history/{prompt_id}" if prompt_id else "/history?max_items=1"):
                await asyncio.sleep(0.01)

    async def silence(self, name: str, path: str = "/prompt") -> None:
        """Write down that a socket has heard nothing by the time the server has answered once more."""
        await self.fetch(path)
        try:
            message = parse(await self._sockets[name].receive(timeout=0.2))
        except TimeoutError:
            self.note({"socket": name, "heard": []})
        else:
            self.note({"socket": name, "heard": [message]})

    async def submit(self, prompt: Json, client: str | None = "a", **body: Json) -> str:
        client_id = {"client_id": client} if client else {}
        answer = await self.http("POST", "/prompt", body={"prompt": prompt, **client_id, **body})
        return answer["prompt_id"]

    async def finish(self, name: str, prompt_id: str, drop: Collection[str] = ()) -> None:
        """Hear a run to its end, then write down its history."""
        await self.hear(name, ends(prompt_id), drop)
        await self.http("GET", f"/history/{prompt_id}")

    async def run(self, prompt: Json, client: str = "a", drop: Collection[str] = (), **body: Json) -> str:
        prompt_id = await self.submit(prompt, client, **body)
        await self.finish(client, prompt_id, drop)
        return prompt_id


def ends(prompt_id: str) -> Callable[[Json], bool]:
    return lambda message: (
        message["type"] == "executing" and message["data"]["node"] is None and message["data"]["prompt_id"] == prompt_id
    )


def parse(message: aiohttp.WSMessage) -> Json:
    """A text message as it is; a binary one as what is in it."""
    if message.type is aiohttp.WSMsgType.TEXT:
        return json.loads(message.data)
    if message.type is not aiohttp.WSMsgType.BINARY:
        return {"type": f"({message.type.name.lower()})"}
    event, number = struct.unpack_from(">II", message.data)
    if event == 4:
        metadata = json.loads(message.data[8 : 8 + number])
        return {"type": "(binary 4)", "metadata": metadata, "image": picture(message.data[8 + number :])}
    return {"type": f"(binary {event})", "image_type": number, "image": picture(message.data[8:])}


def picture(content: bytes) -> str:
    """Format, size and mode; and the colour, if it has only one."""
    with Image.open(io.BytesIO(content)) as image:
        pixels = image.convert("RGBA")
        one = image.format == "PNG" and pixels.getcolors(1)
        colour = f" #{pixels.crop((0, 0, 1, 1)).tobytes().hex()}" if one else ""
        return f"{image.format} {image.width}x{image.height} {image.mode}{colour}"


class Normalizer:
    """Replaces ids by the order of their appearance, and times, paths, tracebacks and prose by what they are."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}
        self._first_number: int | None = None

    def first_number(self, number: int) -> None:
        """Queue numbers count from the scenario's first."""
        if self._first_number is None:
            self._first_number = abs(number)

    def __call__(self, value: Json, key: str = "") -> Json:
        if isinstance(value, dict):
            return {self._text(name): self(each, name) for name, each in value.items() if name not in PROSE}
        if isinstance(value, list):
            return self._list(value, key)
        if key in TIMES:
            return "<time>"
        if isinstance(value, str):
            if key == "exception_message":
                return PATH.sub("<path>", COMMON_PATH.sub("", value))
            return self._sorted_lines(value) if key == "details" else self._text(value)
        if key in ("number", "priority"):
            return self._number(value)
        return value

    def _list(self, value: list[Json], key: str) -> Json:
        if key == "traceback":
            return "<traceback>"
        if len(value) == 5 and isinstance(value[0], int | float):  # an item of the queue
            return [self._number(value[0]), *map(self, value[1:])]
        items = [self(each, key if key in UNORDERED else "") for each in value]
        if key in UNORDERED or key == "errors":
            return sorted(items, key=json.dumps)
        return items

    def _number(self, value: float) -> float:
        first = self._first_number or 0
        return value - first if value >= first else value + first if value <= -first else value

    def _sorted_lines(self, text: str) -> str:
        return "\n".join(sorted(self._text(text).split("\n")))

    def _text(self, text: str) -> str:
        if SID.match(text):
            return "<sid>"
        if text.startswith(("tensor(", "(<PIL", "{'samples'")):
            return "<object>"
        text = ID.sub(lambda match: self._ids.setdefault(match[0], f"<id {len(self._ids) + 1}>"), text)
        text = DIRECTORY.sub("<directory>/", text)
        return TEMP_LETTERS.sub("ComfyUI_temp_<letters>_", text)
