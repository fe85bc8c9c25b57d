"""A worker played by hand: the verbs that an agent's driver would use, one step at a time."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import orjson
from blake3 import blake3

from orchestrator.delivery.keys import output_key
from orchestrator.delivery.storage import Storage
from orchestrator.domain.asset import MediaType, Output
from orchestrator.domain.job import JobError, JobSpec, Priority, Progress
from orchestrator.domain.needs import ModelRef, Needs
from orchestrator.domain.run import QueueEntry
from orchestrator.domain.worker import Residency, WorkerInfo
from orchestrator.store.port import Assignment, Result, RunKey, Submission
from orchestrator.store.redis import RedisStore

OBJECT_INFO: Mapping[str, Any] = {
    "EmptyImage": {
        "input": {
            "required": {
                "width": ["INT", {"default": 512, "min": 1, "max": 16384}],
                "height": ["INT", {"default": 512, "min": 1, "max": 16384}],
                "batch_size": ["INT", {"default": 1, "min": 1, "max": 4096}],
                "color": ["INT", {"default": 0, "min": 0, "max": 0xFFFFFF}],
            }
        },
        "output": ["IMAGE"],
        "output_node": False,
    },
    "LoadImage": {
        "input": {"required": {"image": [["example.png"], {"image_upload": True}]}},
        "output": ["IMAGE", "MASK"],
        "output_node": False,
    },
    "ImageScaleBy": {
        "input": {
            "required": {
                "image": ["IMAGE"],
                "upscale_method": [["nearest-exact", "bilinear", "lanczos"]],
                "scale_by": ["FLOAT", {"default": 1.0, "min": 0.01, "max": 8.0}],
            }
        },
        "output": ["IMAGE"],
        "output_node": False,
    },
    "SaveImage": {
        "input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "ComfyUI"}]}},
        "output": [],
        "output_node": True,
    },
}

_numbers = itertools.count()


async def submit(store: RedisStore, job_id: str, pool: str = "default") -> RunKey:
    """A job straight into the store; answers its first run as `w` would hold it."""
    spec = JobSpec(job_id, pool, Priority.NORMAL, 60.0, 2, 0.0)
    run_id = f"run-{next(_numbers)}"
    entry = QueueEntry(run_id, job_id, 1, pool, "normal", 0.0, "test", Needs())
    await store.submit(Submission(spec, {}, entry))
    return RunKey(run_id, 1, "w")


class WorkerDouble:
    """One worker of a pool, and all that its driver does."""

    def __init__(self, store: RedisStore, storage: Storage | None = None, name: str = "w") -> None:
        self.name = name
        self._store = store
        self._storage = storage

    async def join(self, pool: str = "default", object_info: Mapping[str, Any] = OBJECT_INFO) -> None:
        raw = orjson.dumps(object_info)
        info = WorkerInfo(
            self.name, f"http://{self.name}:8188", pool, "agent", gpu="a100", rate=3.6, catalog=blake3(raw).hexdigest()
        )
        duties = await self._store.register(info)
        await self._store.inspected(info, duties.epoch, raw, {})

    async def take(self, job_id: str, **reasons: Any) -> RunKey:
        """Assigns the job's last run to this worker."""
        run = (await self._store.job(job_id)).runs[-1]
        assert await self._store.assign([Assignment(run.id, run.attempt, self.name, reasons)]) == [True]
        return RunKey(run.id, run.attempt, self.name)

    async def start(self, job_id: str, **reasons: Any) -> RunKey:
        key = await self.take(job_id, **reasons)
        await self._store.start(key)
        return key

    async def progress(self, key: RunKey, value: float) -> None:
        await self._store.progress(key, Progress(value, 1, 2, node="2", node_class="SaveImage", step=1, steps=4))

    async def show(self, key: RunKey, name: str, data: bytes) -> Output:
        """Has a PNG file be seen while its run goes on."""
        output = await self._stored(key, 0, name, data)
        await self._store.show(key, (output,), ())
        return output

    async def finish(
        self, key: RunKey, files: Mapping[str, bytes] | None = None, shown: tuple[Output, ...] = (),
        nodes: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        """Commits a result of these PNG files; `nodes`: the seconds of each."""
        outputs = [await self._stored(key, n, *file) for n, file in enumerate((files or {}).items())]
        residency = Residency(vram=(ModelRef("checkpoints", "sd15.safetensors"),))
        await self._store.commit(key, Result(tuple(outputs), 1.5, 0.25, residency, shown=shown, nodes=nodes or {}))

    async def _stored(self, key: RunKey, n: int, name: str, data: bytes) -> Output:
        path = output_key((await self._store.order(key.run_id)).spec.id, key.run_id, n, name)
        assert self._storage is not None
        stored = await self._storage.put(path, data, "image/png")
        return Output("2", name, MediaType.IMAGE, "image/png", stored.size_bytes, stored.hash, path, 64, 32)

    async def fail(self, key: RunKey, message: str) -> None:
        await self._store.fail(key, JobError("execution_error", message, "2", "SaveImage", "Traceback ..."))
