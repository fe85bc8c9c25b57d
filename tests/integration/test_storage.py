"""What every storage promises, run against each; then what only one of them can get wrong."""

import asyncio
import errno
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from blake3 import blake3
from boto3.session import Session
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from mypy_boto3_s3 import S3Client
from werkzeug.serving import make_server

from orchestrator.build import open_storage
from orchestrator.delivery import incoming, s3
from orchestrator.delivery.local import LocalStorage
from orchestrator.delivery.s3 import S3Storage
from orchestrator.delivery.storage import Storage
from orchestrator.errors import Busy, InvalidRequest, NotFound
from orchestrator.settings import Settings, StorageSettings

BUCKET = "fleet"


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """A server of the S3 protocol on a port of its own."""
    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def s3_admin(s3_server: str) -> Iterator[S3Client]:
    admin = Session("test", "test").client("s3", endpoint_url=s3_server, region_name="us-east-1")
    yield admin
    admin.close()


@pytest.fixture
def s3_endpoint(s3_server: str, s3_admin: S3Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket, and credentials where boto3 looks for them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3_admin.create_bucket(Bucket=BUCKET)
    yield s3_server
    for found in s3_admin.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        s3_admin.delete_object(Bucket=BUCKET, Key=found.get("Key", ""))
    s3_admin.delete_bucket(Bucket=BUCKET)


@pytest.fixture(params=["local", "s3"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    if request.param == "local":
        settings = StorageSettings(kind="local", path=tmp_path / "files")
    else:
        endpoint = request.getfixturevalue("s3_endpoint")
        settings = StorageSettings(kind="s3", bucket=BUCKET, prefix="some/where/", endpoint=endpoint)
    opened = open_storage(Settings(data_dir=tmp_path, storage=settings))
    yield opened
    await opened.close()


async def read(storage: Storage, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([piece async for piece in storage.read(key, start, end)])


async def stream(data: bytes, chunk: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), chunk):
        yield data[start : start + chunk]


def noise(size: int) -> bytes:
    return blake3(b"seed").digest(length=size)


def digest(data: bytes) -> str:
    return f"blake3:{blake3(data).hexdigest()}"


# --- the contract ---


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (9 << 20) + 7])
async def test_what_is_put_is_read(storage: Storage, size: int):
    data = noise(size)
    for key, given in (("runs/a/b/0-x.png", data), ("runs/a/b/1-ü 日本.png", stream(data))):
        stored = await storage.put(key, given, "image/png")
        assert (stored.size_bytes, stored.hash) == (size, digest(data))
        assert await storage.size(key) == size
        assert await read(storage, key) == data
        assert await read(storage, key, 0, size) == data


async def test_parts_of_a_large_stream_arrive_in_order(storage: Storage):
    data = noise(2 * s3.PART_BYTES)  # ends on the border of a part
    assert (await storage.put("runs/a/b/0-x.mp4", stream(data, 3_000_001), "video/mp4")).hash == digest(data)
    assert await read(storage, "runs/a/b/0-x.mp4") == data


async def test_a_range_is_exactly_that(storage: Storage):
    data = noise(5_000_000)
    await storage.put("a", data, "image/png")
    for start, end in ((0, 1), (3, 3), (10, 4_999_990), (4_999_999, 5_000_000), (1_048_576, 2_097_152)):
        assert await read(storage, "a", start, end) == data[start:end]
    assert await read(storage, "a", 4_000_000) == data[4_000_000:]
    assert await read(storage, "a", 5_000_000) == b""


@pytest.mark.parametrize("size", [0, 10, 2_000_000])
async def test_less_than_was_recorded_is_an_error_before_the_first_byte(storage: Storage, size: int):
    await storage.put("a", noise(size), "image/png")
    for start, end in ((0, size + 1), (size, size + 1), (size + 1, size + 5), (size + 1, None)):
        reading = storage.read("a", start, end)
        with pytest.raises(NotFound) as refused:
            await anext(reading)
        assert refused.value.code == "stored_truncated"


async def test_what_is_not_there_is_named(storage: Storage):
    await storage.put("folder/file", b"x", "text/plain")
    for key in ("nothing", "folder", "folder/other"):
        for attempt in (storage.size(key), read(storage, key), read(storage, key, 0, 3)):
            with pytest.raises(NotFound) as refused:
                await attempt
            assert refused.value.code == "not_stored"


async def test_putting_again_replaces(storage: Storage):
    await storage.put("a/b", b"one", "text/plain")
    await storage.put("a/b", stream(b"other"), "text/plain")
    assert await read(storage, "a/b") == b"other"


async def test_a_file_replaced_while_it_is_read_is_not_mixed(storage: Storage):
    size = 5 << 20
    await storage.put("a", noise(size), "image/png")
    reading = storage.read("a")
    await anext(reading)
    await storage.put("a", bytes(size), "image/png")
    with pytest.raises(Busy) as refused:
        async for _ in reading:
            pass
    assert refused.value.code == "storage_changed"


async def test_deleting_is_idempotent_and_hits_only_that(storage: Storage):
    for key in ("runs/ab/r/0", "runs/ab/r/1", "runs/ab/s/0", "runs/abc/r/0", "assets/ab/ab"):
        await storage.put(key, b"x", "text/plain")
    for _ in range(2):
        await storage.delete("runs/ab/r/0")
        with pytest.raises(NotFound):
            await storage.size("runs/ab/r/0")
    assert await storage.size("runs/ab/r/1") == 1
    for _ in range(2):
        await storage.delete_prefix("runs/ab")
        for key in ("runs/ab/r/1", "runs/ab/s/0"):
            with pytest.raises(NotFound):
                await storage.size(key)
    assert await storage.size("runs/abc/r/0") == await storage.size("assets/ab/ab") == 1


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a/../../x", "", ".incoming/x", "a\nb", "a\\b"])
async def test_no_key_leaves_the_storage(storage: Storage, key: str):
    for attempt in (
        storage.put(key, b"x", "text/plain"),
        storage.put(key, stream(b"x"), "text/plain"),
        read(storage, key),
        storage.size(key),
        storage.url(key, 60, "x"),
        storage.delete(key),
        storage.delete_prefix(key),
    ):
        with pytest.raises(InvalidRequest) as refused:
            await attempt
        assert refused.value.code == "invalid_key"


async def failing_stream(data: bytes) -> AsyncIterator[bytes]:
    yield data
    raise ConnectionResetError("the worker went away")


async def endless_stream(started: asyncio.Event) -> AsyncIterator[bytes]:
    yield noise(s3.PART_BYTES + 1)
    started.set()
    await asyncio.Event().wait()


@pytest.mark.parametrize("size", [10, s3.PART_BYTES + 10])
async def test_a_stream_that_breaks_leaves_nothing_and_keeps_what_was_there(
    storage: Storage, size: int, tmp_path: Path
):
    await storage.put("a", b"before", "text/plain")
    with pytest.raises(ConnectionResetError):
        await storage.put("a", failing_stream(noise(size)), "image/png")
    assert await read(storage, "a") == b"before"
    assert leftovers(storage, tmp_path) == []


async def test_a_cancelled_put_leaves_nothing(storage: Storage, tmp_path: Path):
    started = asyncio.Event()
    put = asyncio.create_task(storage.put("a", endless_stream(started), "image/png"))
    await started.wait()
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    with pytest.raises(NotFound):
        await storage.size("a")
    assert leftovers(storage, tmp_path) == []


def leftovers(storage: Storage, tmp_path: Path) -> list[str]:
    if isinstance(storage, S3Storage):
        answer = storage._client.list_multipart_uploads(Bucket=BUCKET)
        return [upload.get("Key", "") for upload in answer.get("Uploads", [])]
    return [path.name for path in (tmp_path / "files/.incoming").iterdir() if path.suffix != ".lock"]


async def test_many_at_once(storage: Storage):
    async def one(number: int) -> bytes:
        key = f"runs/{number % 3}/{number}/0-x"
        await storage.put(key, str(number).encode(), "text/plain")
        return await read(storage, key)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number)) for number in range(40)]
    assert [task.result() for task in tasks] == [str(number).encode() for number in range(40)]


# --- local ---


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[LocalStorage]:
    opened = LocalStorage(tmp_path / "files")
    yield opened
    await opened.close()


async def test_a_folder_has_no_urls(folder: LocalStorage):
    await folder.put("a", b"x", "text/plain")
    assert await folder.url("a", 60, "x") is None


async def test_a_bucket_that_clients_do_not_reach_gives_no_urls(s3_endpoint: str, tmp_path: Path):
    settings = StorageSettings(kind="s3", bucket=BUCKET, endpoint=s3_endpoint, redirect=False)
    storage = open_storage(Settings(data_dir=tmp_path, storage=settings))
    await storage.put("a", b"x", "image/png")
    assert await storage.url("a", 60, "x") is None
    assert await read(storage, "a") == b"x"
    await storage.close()


async def test_a_put_is_one_hop_to_a_thread(folder: LocalStorage, monkeypatch: pytest.MonkeyPatch):
    hops: list[object] = []
    loop = asyncio.get_running_loop()
    run_in_executor = loop.run_in_executor

    def counted(*args: Any) -> Any:
        hops.append(args)
        return run_in_executor(*args)

    monkeypatch.setattr(loop, "run_in_executor", counted)
    await folder.put("runs/a/b/0-x.png", noise(50_000), "image/png")
    assert len(hops) == 1


async def test_empty_folders_go_with_their_last_file(folder: LocalStorage, tmp_path: Path):
    for key in ("runs/a/r/0", "runs/b/r/0", "assets/ab/ab"):
        await folder.put(key, b"x", "text/plain")
    await folder.delete_prefix("runs/a")
    assert sorted(path.name for path in (tmp_path / "files/runs").iterdir()) == ["b"]
    await folder.delete_prefix("runs/b")
    await folder.delete("assets/ab/ab")
    assert [path.name for path in (tmp_path / "files").iterdir()] == [".incoming"]


async def test_puts_and_deletes_of_neighbours_do_not_disturb_each_other(folder: LocalStorage):
    async def churn(number: int) -> None:
        for _ in range(20):
            await folder.put(f"assets/ab/{number}", b"x", "text/plain")
            await folder.delete(f"assets/ab/{number}")

    async def clear() -> None:
        for _ in range(20):
            await folder.put("assets/ab/c", b"x", "text/plain")
            await folder.delete_prefix("assets/ab")

    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(churn(number))
        group.create_task(clear())
        group.create_task(clear())
    with pytest.raises(NotFound):
        await folder.size("assets/ab/0")


async def test_a_file_and_a_folder_cannot_have_one_name(folder: LocalStorage):
    await folder.put("a/b", b"x", "text/plain")
    for key in ("a", "a/b/c"):
        with pytest.raises(InvalidRequest) as refused:
            await folder.put(key, b"x", "text/plain")
        assert refused.value.code == "invalid_key"


CRASH = """
import asyncio, sys
from pathlib import Path
from orchestrator.delivery.local import LocalStorage

async def stream():
    yield bytes(3 << 20)
    print("writing", flush=True)
    await asyncio.Event().wait()

asyncio.run(LocalStorage(Path(sys.argv[1])).put("runs/a/b/0-x.png", stream(), "image/png"))
"""


async def test_a_killed_write_is_never_seen_and_is_swept_at_the_next_start_only(tmp_path: Path):
    root = tmp_path / "files"
    process = subprocess.Popen([sys.executable, "-c", CRASH, str(root)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as output:
        assert output.readline() == b"writing\n"
    storage = LocalStorage(root)
    assert len(list((root / ".incoming").iterdir())) == 3  # two locks, and what is being written
    process.kill()
    process.wait()
    with pytest.raises(NotFound):
        await storage.size("runs/a/b/0-x.png")
    await storage.close()
    storage = LocalStorage(root)
    assert [path.suffix for path in (root / ".incoming").iterdir()] == [".lock"]
    await storage.close()
    assert list((root / ".incoming").iterdir()) == []


async def test_a_full_disk_is_said_and_leaves_nothing(
    folder: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        if threading.current_thread().name.startswith("storage"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    monkeypatch.setattr(incoming.os, "write", full)
    for data in (b"x", stream(noise(3 << 20))):
        with pytest.raises(Busy) as refused:
            await folder.put("a", data, "text/plain")
        assert refused.value.code == "storage_full"
        assert str(tmp_path / "files") in refused.value.message
    monkeypatch.undo()
    assert leftovers(folder, tmp_path) == []
    assert (await folder.put("a", b"x", "text/plain")).size_bytes == 1


async def test_a_folder_that_cannot_be_used_says_what_to_check(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises((Busy, InvalidRequest), match="file"):
        LocalStorage(tmp_path / "file/storage")
    storage = LocalStorage(tmp_path / "files")
    (tmp_path / "files").rename(tmp_path / "elsewhere")
    with pytest.raises(Busy) as refused:
        await storage.put("a", b"x", "text/plain")
    assert refused.value.code == "storage_unavailable"
    assert "mounted" in refused.value.message
    await storage.close()


# --- S3 ---


async def test_a_url_serves_the_file_under_its_name_and_type(s3_endpoint: str):
    storage = S3Storage(BUCKET, "p", s3_endpoint)
    await storage.put("a/0-x", b"PNG", "image/png")
    await storage.put("a/1-x", b"<script>", "text/html")
    async with aiohttp.ClientSession() as session:
        for key, name, kind, disposition in (
            ("a/0-x", "Käse.png", "image/png", "inline; filename=\"K_se.png\"; filename*=UTF-8''K%C3%A4se.png"),
            ("a/1-x", "x.html", "text/html", 'attachment; filename="x.html"'),
        ):
            url = await storage.url(key, 60, name, kind)
            assert url is not None
            assert url.startswith(f"{s3_endpoint}/{BUCKET}/p/a/")
            async with session.get(url) as answer:
                assert answer.status == 200
                assert answer.headers["Content-Disposition"] == disposition
                assert answer.content_type == kind
    await storage.close()


async def test_the_prefix_keeps_two_fleets_apart(s3_endpoint: str):
    one, other = S3Storage(BUCKET, "one", s3_endpoint), S3Storage(BUCKET, "/other/", s3_endpoint)
    await one.put("a/b", b"1", "text/plain")
    await other.put("a/b", b"22", "text/plain")
    await other.delete_prefix("a")
    assert await one.size("a/b") == 1
    with pytest.raises(NotFound):
        await other.size("a/b")
    await one.close()
    await other.close()


async def test_a_folder_of_more_than_a_page_is_deleted(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch):
    storage = S3Storage(BUCKET, "", s3_endpoint)
    for number in range(5):
        await storage.put(f"runs/a/{number}", b"x", "text/plain")
    paginate = storage._client.get_paginator("list_objects_v2").paginate

    class Pages:
        def paginate(self, **request: Any) -> Any:
            return paginate(**request, PaginationConfig={"PageSize": 2})

    monkeypatch.setattr(storage._client, "get_paginator", lambda name: Pages())
    await storage.delete_prefix("runs/a")
    for number in range(5):
        with pytest.raises(NotFound):
            await storage.size(f"runs/a/{number}")
    await storage.close()


async def every_verb_is_unavailable(storage: Storage, advice: str) -> None:
    for attempt in (
        storage.put("a", b"x", "text/plain"),
        storage.put("a", stream(noise(s3.PART_BYTES + 1), s3.PART_BYTES), "text/plain"),
        read(storage, "a"),
        storage.delete_prefix("a"),
    ):
        with pytest.raises(Busy, match=advice) as refused:
            await attempt
        assert refused.value.code == "storage_unavailable"
        assert "s3://" in refused.value.message
        assert refused.value.retry_after > 0
    await storage.close()


async def test_a_missing_bucket_is_named(s3_endpoint: str):
    await every_verb_is_unavailable(S3Storage("nobodys", "", s3_endpoint), "storage.bucket")


async def test_missing_credentials_are_named(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    await every_verb_is_unavailable(S3Storage(BUCKET, "", s3_endpoint), "AWS_ACCESS_KEY_ID")


async def test_a_server_that_does_not_answer_is_named(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    storage = S3Storage(BUCKET, "", f"http://127.0.0.1:{port}")
    with pytest.raises(Busy, match=f"127.0.0.1:{port}.*storage.endpoint") as refused:
        await storage.put("a", b"x", "text/plain")
    assert refused.value.code == "storage_unavailable"
    await storage.close()


@pytest.mark.parametrize(
    ("status", "code", "expected", "advice"),
    [
        (403, "AccessDenied", "storage_unavailable", "s3:GetObject"),
        (403, "InvalidAccessKeyId", "storage_unavailable", "AWS_"),
        (403, "SignatureDoesNotMatch", "storage_unavailable", "AWS_"),
        (400, "IllegalLocationConstraintException", "storage_unavailable", "storage.region"),
        (507, "XMinioStorageFull", "storage_full", "quota"),
        (400, "InvalidArgument", "storage_unavailable", "InvalidArgument"),
    ],
)
async def test_what_a_server_refuses_is_told_with_what_to_check(
    s3_endpoint: str, status: int, code: str, expected: str, advice: str
):
    """A server of one answer, as moto grants everything."""
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d No\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body)) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    storage = S3Storage(BUCKET, "", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(Busy, match=advice) as refused:
        await read(storage, "a")
    assert refused.value.code == expected
    await storage.close()
    server.close()
    await server.wait_closed()
