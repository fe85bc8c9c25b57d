"""Models on their way in, over real TLS and S3: resumed, verified, shared, and deleted only when nobody needs them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from boto3.session import Session
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from orchestrator.errors import Busy, InvalidRequest
from orchestrator.pins import state
from orchestrator.pins.exclusive import held, write_atomically
from orchestrator.pins.hashes import Hashes
from orchestrator.pins.lock import Model
from orchestrator.pins.state import State
from orchestrator.pins.store import ModelStore
from tests.fixtures.pinned import noise
from tests.fixtures.site import CONTENT, CUT, Site


def model(content: bytes = CONTENT, size: int | None = None) -> Model:
    return Model(hashlib.sha256(content).hexdigest(), len(content) if size is None else size)


class Told:
    """A Reporter that remembers."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.seen: list[int] = []

    def step(self, words: str) -> None:
        self.words.append(words)

    done = step

    def progress(self, name: str, done: int, total: int) -> None:
        self.seen.append(done)


@pytest.fixture
def models(tmp_path: Path) -> ModelStore:
    root = tmp_path / "models"
    return ModelStore(root, Hashes(root / "hashes.json"))


def fetch(models: ModelStore, *sources: str, wanted: Model | None = None, told: Told | None = None) -> None:
    models.fetch("vae/x.safetensors", wanted or model(), sources, Path("/nowhere"), told or Told())


# --- fetching ---


@pytest.mark.parametrize(
    ("way", "asked"),
    [
        ("ok", [("ok", 0)]),
        ("cut", [("cut", 0), ("cut", CUT)]),
        ("noranges", [("noranges", 0), ("noranges", CUT)]),
        ("busy", [("busy", 0), ("busy", 0)]),
        ("moved", [("moved", 0), ("ok", 0)]),
    ],
)
def test_https_is_resumed_and_tried_again(
    models: ModelStore, site: Site, way: str, asked: list[tuple[str, int]]
) -> None:
    told = Told()
    fetch(models, f"{site.url}/{way}", told=told)
    path = models.path(model().sha256)
    assert path.read_bytes() == CONTENT
    assert path.stat().st_mode & 0o222 == 0
    assert site.asked == asked
    assert told.seen[-1] == len(CONTENT)
    assert list((path.parents[2] / "incoming").glob("*.part")) == []


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("http", "redirects to http://127.0.0.1"),
        ("missing", "it answers 404"),
        ("wrong", "it has sha256 "),
        ("long", f"it has more than the {len(CONTENT)} bytes"),
        ("short", f"it ends after {len(CONTENT) - 1} of {len(CONTENT)} bytes"),
    ],
)
def test_what_is_not_the_model_is_never_stored(models: ModelStore, site: Site, way: str, words: str) -> None:
    with pytest.raises(Busy, match="cannot be fetched") as failed:
        fetch(models, f"{site.url}/{way}")
    assert words in failed.value.message
    assert f"{site.url}/{way}: " in failed.value.message
    assert not models.path(model().sha256).exists()
    assert not models.holds(model())


def test_the_next_source_is_tried_and_goes_on_or_begins_anew(models: ModelStore, site: Site, tmp_path: Path) -> None:
    fetch(models, str(tmp_path / "none"), f"{site.url}/wrong", f"{site.url}/ok")
    assert models.path(model().sha256).read_bytes() == CONTENT
    assert site.asked == [("wrong", 0), ("ok", 0)]


def test_what_an_earlier_process_left_is_gone_on_from(models: ModelStore, site: Site, tmp_path: Path) -> None:
    part = tmp_path / "models" / "incoming" / f"{model().sha256}.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT[:CUT])
    fetch(models, f"{site.url}/ok")
    assert site.asked == [("ok", CUT)]


def test_what_was_left_of_another_content_is_thrown_away(models: ModelStore, site: Site, tmp_path: Path) -> None:
    part = tmp_path / "models" / "incoming" / f"{model().sha256}.part"
    part.parent.mkdir()
    part.write_bytes(b"\x00" * CUT)
    fetch(models, f"{site.url}/ok")
    assert site.asked == [("ok", CUT), ("ok", 0)]
    assert models.path(model().sha256).read_bytes() == CONTENT


def test_an_unknown_certificate_is_not_believed(
    models: ModelStore, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(Busy, match="CERTIFICATE_VERIFY_FAILED"):
        fetch(models, f"{site.url}/ok")


def test_files_are_copied_never_linked(models: ModelStore, tmp_path: Path) -> None:
    source = tmp_path / "a source.safetensors"
    source.write_bytes(CONTENT)
    fetch(models, source.as_uri())
    source.write_bytes(b"changed")
    assert models.path(model().sha256).read_bytes() == CONTENT


def test_relative_sources_are_relative_to_the_lock(models: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(CONTENT)
    models.fetch("vae/x", model(), ["../x"], tmp_path / "models", Told())
    assert models.holds(model())


def test_an_empty_file_is_a_file_too(models: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    fetch(models, str(tmp_path / "empty"), wanted=model(b""))
    assert models.holds(model(b""))


def test_a_model_without_a_source_says_so_unless_it_is_here(models: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="names no source"):
        fetch(models)
    (tmp_path / "x").write_bytes(CONTENT)
    fetch(models, str(tmp_path / "x"))
    fetch(models)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    for name, value in {
        "AWS_ACCESS_KEY_ID": "t", "AWS_SECRET_ACCESS_KEY": "t", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": url, "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    admin = Session("t", "t").client("s3", endpoint_url=url, region_name="us-east-1")
    admin.create_bucket(Bucket="models")
    admin.put_object(Bucket="models", Key="a b/x", Body=CONTENT)
    yield "s3://models"
    admin.close()
    server.shutdown()
    thread.join()
    server.server_close()


def test_s3_is_read_from_any_byte_on(models: ModelStore, bucket: str, tmp_path: Path) -> None:
    part = tmp_path / "models" / "incoming" / f"{model().sha256}.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT[:CUT])
    told = Told()
    fetch(models, f"{bucket}/a%20b/x", told=told)
    assert models.holds(model())
    assert told.seen[0] > CUT
    with pytest.raises(Busy, match="NoSuchKey"):
        fetch(models, f"{bucket}/none", wanted=model(b"other"))


def test_two_that_want_one_model_fetch_it_once(models: ModelStore, site: Site, tmp_path: Path) -> None:
    told = Told()
    with held(tmp_path / "models" / "incoming" / f"{model().sha256}.lock"):
        second = threading.Thread(target=fetch, args=(models, f"{site.url}/ok"), kwargs={"told": told}, daemon=True)
        second.start()
        while not told.words:  # until it waits
            time.sleep(0.001)
        part = tmp_path / "models" / "incoming" / "x"
        part.write_bytes(CONTENT)
        models.path(model().sha256).parent.mkdir(parents=True)
        part.rename(models.path(model().sha256))
    second.join()
    assert site.asked == []
    assert told.words == [f"waiting for process {os.getpid()}, which fetches model vae/x.safetensors too"]


def test_a_damaged_file_is_fetched_again(models: ModelStore, site: Site) -> None:
    fetch(models, f"{site.url}/ok")
    path = models.path(model().sha256)
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(b"\x00\x00")
    assert not models.holds(model())
    fetch(models, f"{site.url}/ok")
    assert path.read_bytes() == CONTENT


def test_missing_room_is_known_before_anything_is_fetched(models: ModelStore, tmp_path: Path) -> None:
    huge = model(b"huge", size=10**18)
    with pytest.raises(Busy, match=r"have 1000000000\.0 GB, and .* has room for"):
        models.check_room([huge, model()])
    part = tmp_path / "models" / "incoming" / f"{huge.sha256}.part"
    part.parent.mkdir()
    with part.open("wb") as file:
        file.truncate(10**12)  # what is here already needs no room
    with pytest.raises(Busy, match=r"have 999999000\.0 GB"):
        models.check_room([huge, model()])


def test_what_is_to_stay_free_is_no_room_and_is_said(models: ModelStore) -> None:
    with pytest.raises(Busy, match=r"for 0\.0 GB beside the 1000000000\.0 GB .* or lower supervision\.min_free_gb"):
        models.check_room([model()], floor_bytes=10**18)


def test_two_threads_that_write_one_file_do_not_take_it_from_each_other(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda n: write_atomically(tmp_path / "x", bytes(n)), range(400)))
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


LIMITED = """
import errno, resource, signal, sys
from pathlib import Path
from orchestrator.pins.hashes import Hashes
from orchestrator.pins.lock import Model
from orchestrator.pins.store import ModelStore
from tests.fixtures.pinned import noise
from tests.fixtures.site import CONTENT, CUT, Site

class Silent:
    def told(self, *_): ...
    step = done = progress = told

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_200_000, 1_200_000))
root, source, sha256, size = Path(sys.argv[1]), *sys.argv[2:]
try:
    ModelStore(root, Hashes(root / "x")).fetch("vae/x", Model(sha256, int(size)), [source], root, Silent())
except OSError as error:
    print(errno.errorcode[error.errno])
"""


def test_a_disk_that_takes_no_more_is_no_fault_of_the_source(tmp_path: Path) -> None:
    source = tmp_path / "x"
    source.write_bytes(CONTENT)
    args = (str(tmp_path / "models"), str(source), model().sha256, str(len(CONTENT)))
    done = subprocess.run([sys.executable, "-c", LIMITED, *args], capture_output=True, text=True, check=False)
    assert done.stdout == "EFBIG\n", done.stderr


# --- collecting ---


def keep(models: ModelStore, name: str, tmp_path: Path) -> Model:
    source = tmp_path / name
    source.write_bytes(noise(name, 1000))
    wanted = model(noise(name, 1000))
    fetch(models, str(source), wanted=wanted)
    return wanted


def test_least_recently_used_models_go_first_and_those_in_use_never(models: ModelStore, tmp_path: Path) -> None:
    in_use, locked, old, new = (keep(models, name, tmp_path) for name in ("in use", "locked", "old", "new"))
    assert models.holds(old)  # used last
    state.write(tmp_path / "comfyui", State(None, (), {"vae/x": in_use.sha256}))
    with models.used_by(tmp_path / "comfyui", Told()), pytest.raises(Busy, match="is being provisioned from"):
        models.collect((), 0)

    collected = models.collect({locked.sha256}, 3000)
    assert (collected.deleted, collected.freed, collected.left) == ((new.sha256,), 1000, 3000)
    collected = models.collect({locked.sha256}, 0)
    assert (collected.deleted, collected.left) == ((old.sha256,), 2000)

    (tmp_path / "comfyui" / ".comfyfleet" / "provisioned.json").unlink()
    collected = models.collect((), 0)
    assert set(collected.deleted) == {in_use.sha256, locked.sha256}
    assert not any((tmp_path / "models" / "users").iterdir())


def test_collecting_removes_what_was_begun_unless_it_is_kept(models: ModelStore, tmp_path: Path) -> None:
    incoming = tmp_path / "models" / "incoming"
    incoming.mkdir()
    (incoming / "aa.part").touch()
    (incoming / "bb.part").touch()
    models.collect({"aa"}, 0)
    assert [path.name for path in incoming.iterdir()] == ["aa.part"]
