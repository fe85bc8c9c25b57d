"""Model files are read into the page cache ahead of the runs that need them; and only while they are wanted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from orchestrator.delivery.local import LocalStorage
from orchestrator.domain.needs import ModelRef
from orchestrator.domain.worker import WorkerInfo
from orchestrator.settings import LeaseSettings
from orchestrator.store.port import Mail, MailKind
from orchestrator.store.redis import RedisStore
from orchestrator.worker.host import AttachedHost
from orchestrator.worker.prefetch import CHUNK_BYTES, Prefetcher, available_bytes
from tests.fixtures.comfyui import StartSim
from tests.fixtures.driving import Fleet, eventually
from tests.fixtures.page_cache import cached_bytes, cold_file

A, B = (ModelRef("checkpoints", f"{name}.safetensors") for name in "ab")
MOST = 0.9  # of a file: a kernel that is short of memory lets some pages go at once
MANY_CHUNKS = 40 * CHUNK_BYTES


def sparse_file(path: Path, size: int) -> Path:
    """Which takes no place on the disk."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


@asynccontextmanager
async def prefetching(
    find: Callable[[ModelRef], Path | None],
) -> AsyncIterator[tuple[Prefetcher, asyncio.Queue[ModelRef]]]:
    """And the models that it has staged."""
    staged: asyncio.Queue[ModelRef] = asyncio.Queue()
    prefetcher = Prefetcher(find, staged.put_nowait)
    task = asyncio.create_task(prefetcher.run())
    try:
        yield prefetcher, staged
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_what_is_wanted_is_in_the_page_cache_in_the_order_in_which_it_is_wanted(tmp_path: Path) -> None:
    files = {model: cold_file(tmp_path / model.name, 2 * CHUNK_BYTES + 2**20) for model in (A, B)}
    async with prefetching(files.get) as (prefetcher, staged):
        prefetcher.want([B, A])
        assert [await staged.get(), await staged.get()] == [B, A]
    for path in files.values():
        assert cached_bytes(path) > path.stat().st_size * MOST


async def test_a_new_order_ends_the_reading_of_what_is_wanted_no_more(tmp_path: Path) -> None:
    files = {A: sparse_file(tmp_path / "a", MANY_CHUNKS), B: sparse_file(tmp_path / "b", 2**20)}
    loop = asyncio.get_running_loop()

    def find(model: ModelRef) -> Path:
        if model is A:  # the order changes just before it is read
            loop.call_soon_threadsafe(prefetcher.want, [B])
        return files[model]

    async with prefetching(find) as (prefetcher, staged):
        prefetcher.want([A])
        assert await staged.get() == B
    assert cached_bytes(files[A]) <= CHUNK_BYTES


async def test_when_it_is_cancelled_nothing_reads_on(tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "a", MANY_CHUNKS)
    async with prefetching({A: path}.get) as (prefetcher, staged):
        prefetcher.want([A])
        while not cached_bytes(path):
            await asyncio.sleep(0)
    read = cached_bytes(path)
    assert staged.empty()
    assert read < MANY_CHUNKS
    await asyncio.to_thread(lambda: None)  # whatever thread there was had its turn
    assert cached_bytes(path) <= read


async def test_what_is_not_there_or_too_large_is_left_and_the_next_is_read(tmp_path: Path) -> None:
    large = ModelRef("checkpoints", "large")
    files: Mapping[ModelRef, Path] = {
        large: sparse_file(tmp_path / "large", available_bytes()),
        A: tmp_path / "gone",
        B: sparse_file(tmp_path / "b", 2**20),
    }
    async with prefetching(files.get) as (prefetcher, staged):
        prefetcher.want([large, A, ModelRef("loras", "unknown"), B])
        assert await staged.get() == B
    assert cached_bytes(files[B]) > 2**20 * MOST


@pytest.fixture
async def fleet(store: RedisStore, leases: LeaseSettings, tmp_path: Path) -> AsyncIterator[Fleet]:
    storage = LocalStorage(tmp_path / "storage")
    yield Fleet(store, storage, leases)
    await storage.close()


class NearHost(AttachedHost):
    """Of a ComfyUI whose models are in a folder of this machine."""

    def __init__(self, info: WorkerInfo, folder: Path) -> None:
        super().__init__(info)
        self._folder = folder

    def model_file(self, model: ModelRef) -> Path | None:
        return self._folder / model.name


async def test_an_order_in_the_mail_is_carried_out_and_the_store_knows_what_is_in_ram_by_now(
    fleet: Fleet, sim_comfyui: StartSim, tmp_path: Path
) -> None:
    sim = await sim_comfyui()
    path = cold_file(tmp_path / A.name, CHUNK_BYTES)
    async with fleet.agent_of([NearHost(WorkerInfo("w", sim.url, "default", "agent"), tmp_path)]):
        await fleet.worker("w")
        await fleet.store.post(Mail(MailKind.PREFETCH, "w", files=(A,)))

        async def told() -> bool:
            return (await fleet.store.worker("w")).residency.ram == (A,)

        await eventually(told, "the file to be in RAM")
    assert cached_bytes(path) > CHUNK_BYTES * MOST
