"""ComfyClient: the HTTP side of one ComfyUI, its answers parsed and its failures named by what to do about them.

Every call has a timeout, and every JSON body a bound. WorkerFault means that the worker did not do its part (codes
`comfyui_refused`, `comfyui_timeout`, `comfyui_broken`), and says nothing about the run; Retryable and Permanent are
ComfyUI's judgement on a prompt.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import orjson
from yarl import URL

from orchestrator.comfy import answers, refusal
from orchestrator.comfy.answers import FileOutput, HistoryEntry, Queue, SystemStats
from orchestrator.comfy.memory import MemoryReport, parse_memory
from orchestrator.comfy.protocol import mapping, number, sequence, text
from orchestrator.errors import NotFound, Retryable, WorkerFault

T = TypeVar("T")

JSON_MAX = 64 << 20
OBJECT_INFO_MAX = 256 << 20
CHUNK = 256 << 10
KEEP_ALIVE_S = 30.0  # below ComfyUI's own 75 s, so that we never write to a connection that it just closed

# ComfyUI answers from the process that executes: a busy one is slow, and that is no failure yet.
_QUICK = aiohttp.ClientTimeout(total=30.0, sock_connect=5.0)
_INVENTORY = aiohttp.ClientTimeout(total=180.0, sock_connect=5.0)  # looks at every file, on a disk that may be slow
_OBJECT_INFO = aiohttp.ClientTimeout(total=180.0, sock_connect=5.0)
_TRANSFER = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=60.0)

_UPLOAD_LIMIT = 100 << 20  # of versions that do not tell

_NAMES_MAX = 15  # in one query, which must not be longer than 8 KB

_JSON = {"Content-Type": "application/json"}
_NOT_MODELS = frozenset({"configs", "custom_nodes"})  # which ComfyUI lists among the folders of models


class ComfyClient:
    """One ComfyUI at `url`. An async context manager; connections are kept alive in it."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._has_jobs_route = True  # found out by the first cancel
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=16, keepalive_timeout=KEEP_ALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def __aenter__(self) -> ComfyClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.close()

    # --- prompts ---

    async def prompt(
        self,
        graph: Mapping[str, Any],
        prompt_id: str,
        client_id: str | None,
        outputs: Sequence[str] = (),
        extra_data: Mapping[str, Any] | None = None,
    ) -> None:
        """Queues the graph; its events go to `client_id`. Only what `outputs` hang on executes, and is checked: all
        output nodes when it is empty. `extra_data` is what nodes may ask for beside their inputs.

        Raises Retryable("missing_model", "missing_class", "missing_option") when this ComfyUI lacks something, and
        Permanent("invalid_prompt") for what no ComfyUI takes. One that takes the graph without some of its outputs
        raises the same, *after* it was queued: cancel it then.
        """
        body: dict[str, Any] = {"prompt": graph, "prompt_id": prompt_id}
        if client_id is not None:
            body["client_id"] = client_id
        if outputs:
            body["partial_execution_targets"] = list(outputs)
        if extra_data:
            body["extra_data"] = extra_data
        status, answer = await self._send("POST", "/prompt", orjson.dumps(body))
        if status == 413:
            raise refusal.too_large(self.url)
        if status not in (200, 400):
            self._unexpected(status, answer, "/prompt")
        refused = self._parsed(answers.parse_refusal, answer, "/prompt")
        if status == 400 or refused.node_errors:
            raise refusal.explain(refused, self.url)

    async def queue(self) -> Queue:
        """What it has, at this moment."""
        return self._parsed(answers.parse_queue, await self._get("/queue"), "/queue")

    async def history(self, prompt_id: str) -> HistoryEntry | None:
        """How the prompt ended; None while it has not, or when it is not known."""
        answer = await self._get(f"/history/{prompt_id}")
        return self._parsed(lambda body: answers.parse_history(body, prompt_id), answer, "/history")

    async def delete_history(self, prompt_ids: Sequence[str]) -> None:
        """Forgets how they ended; unknown ones are no error."""
        await self._post("/history", {"delete": list(prompt_ids)})

    async def cancel(self, prompt_id: str) -> None:
        """Asks to stop this prompt, and no other. Whether it stopped, queue and history tell: ask again until it has,
        as a prompt that is just about to start ignores it."""
        if self._has_jobs_route:
            status, answer = await self._send("POST", f"/api/jobs/{prompt_id}/cancel", b"{}")
            if status == 200:
                return
            if status not in (404, 405):
                self._unexpected(status, answer, "/api/jobs/{id}/cancel")
            self._has_jobs_route = False
        if prompt_id in (await self.queue()).pending:
            await self._post("/queue", {"delete": [prompt_id]})
        # Old versions interrupt whatever runs, so it must be seen to be this one right before.
        if prompt_id in (await self.queue()).running:
            await self._post("/interrupt", {"prompt_id": prompt_id})

    async def free(self) -> None:
        """Unloads its models and drops its cache, as soon as it is idle."""
        await self._post("/free", {"unload_models": True, "free_memory": True})

    # --- files ---

    async def upload(self, name: str, data: AsyncIterator[bytes]) -> None:
        """Puts a file into its input folder, over one of that name."""
        form = aiohttp.FormData()
        form.add_field("type", "input")
        form.add_field("overwrite", "true")
        form.add_field("image", data, filename=name, content_type="application/octet-stream")
        status, answer = await self._send("POST", "/upload/image", form, timeout=_TRANSFER)
        if status == 413:
            raise refusal.too_large(self.url)
        if status != 200:
            self._unexpected(status, answer, "/upload/image")
        stored = self._parsed(lambda body: text(mapping(body)["name"]), answer, "/upload/image")
        if stored != name:
            raise Retryable("upload_renamed", f"{self.url} stored {name} as {stored}: its input folder is not writable")

    async def view(self, file: FileOutput) -> AsyncGenerator[bytes, None]:
        """The bytes of an output. Raises NotFound("output_missing") when it is not there."""
        query = urlencode({"filename": file.filename, "subfolder": file.subfolder, "type": file.type})
        try:
            async with self._request("GET", f"/view?{query}", None, _TRANSFER) as response:
                if response.status in (400, 403, 404):
                    raise NotFound("output_missing", f"{self.url} has no file {file.subfolder}/{file.filename}")
                if response.status != 200:
                    self._unexpected(response.status, await _read(response, JSON_MAX), "/view")
                async for chunk in response.content.iter_chunked(CHUNK):
                    yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise self._fault(error) from error

    # --- what it is and has ---

    async def system_stats(self) -> SystemStats:
        return self._parsed(answers.parse_system_stats, await self._get("/system_stats"), "/system_stats")

    async def upload_limit(self) -> int:
        """Bytes that it takes in one body."""
        status, answer = await self._send("GET", "/features")
        if status == 404:
            return _UPLOAD_LIMIT
        if status != 200:
            self._unexpected(status, answer, "/features")
        return self._parsed(
            lambda body: int(number(mapping(body).get("max_upload_size", _UPLOAD_LIMIT))), answer, "/features"
        )

    async def object_info(self) -> bytes:
        """Its node classes as JSON. Large, and it stops ComfyUI's loop for a moment: once a boot."""
        status, answer = await self._send("GET", "/object_info", timeout=_OBJECT_INFO, limit=OBJECT_INFO_MAX)
        if status != 200:
            self._unexpected(status, answer, "/object_info")
        return answer

    async def model_sizes(self) -> dict[str, int]:
        """ "folder/name" -> bytes of its model files; empty where the version does not tell."""
        folders = self._parsed(
            lambda body: [text(folder) for folder in sequence(body)], await self._get("/models"), "/models"
        )
        sizes: dict[str, int] = {}
        for folder in sorted(set(folders) - _NOT_MODELS):
            status, answer = await self._send("GET", f"/experiment/models/{quote(folder)}")
            if status == 404:
                continue
            if status != 200:
                self._unexpected(status, answer, "/experiment/models")
            files = self._parsed(answers.parse_sizes, answer, "/experiment/models")
            sizes.update((f"{folder}/{name}", size) for name, size in files.items())
        return sizes

    async def inventory(self, hashing: Sequence[str] = ()) -> Any:
        """What its node pack says that it is made of (pins/inventory.py); None where that is not installed. It is asked
        to read the models FOLDER/NAME in `hashing`, for which the answer does not wait."""
        first, rest = hashing[:_NAMES_MAX], hashing[_NAMES_MAX:]
        query = urlencode([("hash", name) for name in first])
        status, answer = await self._send("GET", f"/fleet/inventory?{query}", timeout=_INVENTORY)
        if status == 404:
            return None
        if status != 200:
            self._unexpected(status, answer, "/fleet/inventory")
        return await self.inventory(rest) if rest else self._parsed(mapping, answer, "/fleet/inventory")

    async def memory(self) -> MemoryReport | None:
        """What it holds there, by its node pack; None where that is not installed."""
        status, answer = await self._send("GET", "/fleet/residency")
        if status == 404:
            return None
        if status != 200:
            self._unexpected(status, answer, "/fleet/residency")
        return self._parsed(parse_memory, answer, "/fleet/residency")

    # --- how it is asked ---

    async def _get(self, path: str) -> bytes:
        status, answer = await self._send("GET", path)
        if status != 200:
            self._unexpected(status, answer, path)
        return answer

    async def _post(self, path: str, body: Mapping[str, Any]) -> None:
        status, answer = await self._send("POST", path, orjson.dumps(body))
        if status != 200:
            self._unexpected(status, answer, path)

    async def _send(
        self,
        method: str,
        path: str,
        data: bytes | aiohttp.FormData | None = None,
        *,
        timeout: aiohttp.ClientTimeout | None = None,
        limit: int | None = None,
    ) -> tuple[int, bytes]:
        try:
            async with self._request(method, path, data, timeout or _QUICK) as response:
                return response.status, await _read(response, limit or JSON_MAX)
        except (aiohttp.ClientError, OSError) as error:
            raise self._fault(error) from error

    def _request(
        self,
        method: str,
        path: str,
        data: bytes | aiohttp.FormData | None,
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.client._RequestContextManager:
        headers = _JSON if isinstance(data, bytes) else None
        return self._http.request(
            method,
            URL(self.url + path, encoded=True),
            data=data,
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
        )

    def _parsed(self, parse: Callable[[Any], T], answer: bytes, path: str) -> T:
        try:
            return parse(_decode(answer))
        except (KeyError, ValueError) as error:
            raise WorkerFault(
                "comfyui_broken", f"{self.url}{path} does not answer as a ComfyUI does: {error}; is the URL right?"
            ) from error

    def _unexpected(self, status: int, answer: bytes, path: str) -> NoReturn:
        said = answer[:200].decode(errors="replace").strip()
        raise WorkerFault("comfyui_broken", f"{self.url}{path} answered {status}: {said or 'nothing'}", status=status)

    def _fault(self, error: Exception) -> WorkerFault:
        if isinstance(error, TimeoutError):
            return WorkerFault("comfyui_timeout", f"{self.url} did not answer in time: it hangs, or is very busy")
        if isinstance(error, aiohttp.ClientConnectionError | OSError):
            reason = error.os_error.strerror if isinstance(error, aiohttp.ClientConnectorError) else error
            return WorkerFault("comfyui_refused", f"{self.url} cannot be reached ({reason}): is ComfyUI running there?")
        return WorkerFault("comfyui_broken", f"{self.url} broke off its answer: {error}")


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body, if it is not beyond the limit."""
    if response.content_length is not None and response.content_length <= limit:
        return await response.read()
    body = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK):
        body += chunk
        if len(body) > limit:
            raise aiohttp.ClientPayloadError(f"more than {limit} bytes")
    return bytes(body)


def _decode(body: bytes) -> Any:
    """JSON as ComfyUI writes it: custom nodes put NaN, halves of surrogate pairs and huge integers into it. Those end
    here, as neither the store nor a client of ours could take them."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _plain(json.loads(body, parse_constant=lambda _: None))


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, int) and value.bit_length() > 63:
        return float(value) if value.bit_length() < 1024 else None
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return value
