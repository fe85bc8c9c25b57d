"""Workers with a lock: what is not what it says gets no runs, says what differs, and works again once it is mended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.delivery.local import LocalStorage
from orchestrator.domain.job import JobStatus
from orchestrator.domain.run import RunState
from orchestrator.domain.worker import Worker, WorkerEvent, WorkerInfo, WorkerState
from orchestrator.pins import document
from orchestrator.pins.draft import draft
from orchestrator.pins.hashes import Hashes
from orchestrator.pins.lock import Checkout, Lock, Model, Package
from orchestrator.pins.observe import observe
from orchestrator.pins.pinned import Pinned
from orchestrator.settings import LeaseSettings
from orchestrator.simulator.comfyui.routes.pack import sha256
from orchestrator.store.redis import RedisStore
from orchestrator.worker import digests, drift
from orchestrator.worker.host import AttachedHost
from tests.fixtures.comfyui import StartSim
from tests.fixtures.driving import Fleet, eventually, picture, sampled
from tests.fixtures.pinned import git, make_repo
from tests.fixtures.supervising import MakeStation, Station, hurry, stations
from tests.fixtures.whole import StartWhole

MODEL = "checkpoints/own.safetensors"
CHECKPOINT = "checkpoints/v1-5-pruned-emaonly-fp16.safetensors"


@pytest.fixture
def leases() -> LeaseSettings:
    return LeaseSettings(worker_s=5.0, heartbeat_s=0.2)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr(drift, "RECHECK_S", 0.2)
    monkeypatch.setattr(drift, "HASHING_POLL_S", 0.05)
    monkeypatch.setattr(digests, "POLL_S", 0.05)


@pytest.fixture
async def fleet(store: RedisStore, leases: LeaseSettings, tmp_path: Path) -> AsyncIterator[Fleet]:
    storage = LocalStorage(tmp_path / "storage")
    yield Fleet(store, storage, leases)
    await storage.close()


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[MakeStation]:
    async with stations(tmp_path) as make:
        yield make


class Locked:
    """A supervised worker whose installation is a checkout with an environment, a node pack, a model and a lock."""

    def __init__(self, station: Station, root: Path) -> None:
        self.station, sim = station, station.sim
        self.folder = sim.directory
        for name in (".gitignore", "models", "custom_nodes", ".venv", "behaviour.json"):
            with (self.folder / ".gitignore").open("a") as ignored:
                ignored.write(f"{name}\n")
        git(self.folder, "init", "--quiet")
        git(self.folder, "remote", "add", "origin", "https://example.com/ComfyUI.git")
        git(self.folder, "add", "main.py")
        git(self.folder, "commit", "--quiet", "--message", "ComfyUI")
        self.pack = self.folder / "custom_nodes" / "PackA"
        make_repo(self.pack, {"__init__.py": "one\n"}, {"__init__.py": "two\n"})
        git(self.pack, "remote", "add", "origin", "https://example.com/PackA.git")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.folder / ".venv"], check=True)
        sim.python = self.folder / ".venv" / "bin" / "python"
        (self.site,) = (self.folder / ".venv" / "lib").glob("python*/site-packages")
        self.package("1.0")
        self.model("weights")
        self.hashes = root / "hashes.json"
        self.file = root / "prod.lock.yaml"
        self.write()

    def model(self, weights: str) -> None:
        file = self.folder / "models" / MODEL
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(weights)

    def package(self, version: str) -> None:
        info = self.site / "alpha.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: alpha\nVersion: {version}\n")

    def write(self) -> Lock:
        """The lock of what there is now."""
        seen = observe(self.folder, self.station.sim.python, Hashes(self.hashes))
        lock = draft(seen, {"alpha": ("0" * 64,)}, allow_pickle=False)
        self.file.write_text(document.dump(lock))
        return lock

    def host(self, **settings: Any) -> Any:
        return self.station.host(pinned=Pinned(self.file, self.hashes), **settings)


@pytest.fixture
def w(make: MakeStation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Locked:
    # Its environment has nothing in it: what the simulator needs comes from ours.
    monkeypatch.setenv("PYTHONPATH", ":".join(path for path in (str(Path.cwd()), *sys.path) if path))
    return Locked(make("w"), tmp_path)


async def quarantined(fleet: Fleet, *words: str) -> Worker:
    """The worker, once its note says so."""

    async def told() -> Worker | None:
        worker = await fleet.worker("w", WorkerState.QUARANTINED)
        return worker if all(word in (worker.note or "") for word in words) else None

    return await eventually(told, f"w to say {words}")


async def ran_under(fleet: Fleet) -> str | None:
    """The lock that a job says it ran under."""
    job = await fleet.job(await fleet.submit(picture(), "w"))
    assert job.status is JobStatus.SUCCEEDED
    return job.runs[0].lock


def _changed_byte(w: Locked) -> Callable[[], None]:
    w.model("Weights")
    return lambda: w.model("weights")


def _missing(w: Locked) -> Callable[[], None]:
    (w.folder / "models" / MODEL).unlink()
    return lambda: w.model("weights")


def _other_commit(w: Locked) -> Callable[[], None]:
    git(w.pack, "checkout", "--quiet", "HEAD~1")
    return lambda: (git(w.pack, "checkout", "--quiet", "main"), None)[1]


def _other_version(w: Locked) -> Callable[[], None]:
    w.package("2.0")
    return lambda: w.package("1.0")


@pytest.mark.parametrize(
    ("break_it", "named"),
    [
        (_changed_byte, f"it is not what prod.lock.yaml says: model {MODEL} has sha256 "),
        (_missing, f"it is not what prod.lock.yaml says: model {MODEL} is missing, the lock says sha256 "),
        (_other_commit, "it is not what prod.lock.yaml says: node pack PackA is at commit "),
        (_other_version, "it is not what prod.lock.yaml says: package alpha is 2.0, the lock says 1.0"),
    ],
    ids=(
        "one byte of a model",
        "a model of a folder that is not ours to change",
        "one commit of a node pack",
        "one version of a package",
    ),
)
async def test_what_drifted_is_not_started_and_says_what_differs_until_it_is_mended(
    fleet: Fleet, w: Locked, break_it: Callable[[Locked], Callable[[], None]], named: str
) -> None:
    lock = w.write()
    mend = break_it(w)
    host = w.host()
    async with fleet.agent_of([host]):
        worker = await quarantined(fleet, named)
        assert (worker.info.lock, host.pid) == (None, None)
        mend()
        worker = await fleet.worker("w")
        assert worker.info.lock == lock.digest
        assert await ran_under(fleet) == lock.digest
    notes = [change.note for change in await fleet.store.worker_changes("w")]
    assert "it is what its lock says again" in notes
    assert any((note or "").startswith(named) for note in notes)


async def test_an_operator_has_it_looked_at_at_once_and_a_lock_that_is_written_anew_mends_too(
    fleet: Fleet, w: Locked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "RECHECK_S", 3600.0)
    async with fleet.agent_of([w.host()]):
        assert await ran_under_when_ready(fleet) == w.write().digest
        w.package("2.0")
        await fleet.store.move_worker("w", WorkerEvent.RECYCLE)
        assert (await quarantined(fleet, "package alpha is 2.0")).info.lock is None
        w.model("Weights")
        await fleet.store.move_worker("w", WorkerEvent.RESUME)
        await quarantined(fleet, "package alpha is 2.0", f"model {MODEL} has sha256")
        w.file.write_text("schema: 1\nmodels: oops\n")
        await fleet.store.move_worker("w", WorkerEvent.RESUME)
        await quarantined(fleet, "prod.lock.yaml:")
        digest = w.write().digest
        await fleet.store.move_worker("w", WorkerEvent.DRAIN)
        await fleet.store.move_worker("w", WorkerEvent.RECYCLE)
        await fleet.worker("w", WorkerState.DRAINING)
        await fleet.store.move_worker("w", WorkerEvent.RESUME)
        assert await ran_under(fleet) == digest


async def ran_under_when_ready(fleet: Fleet) -> str | None:
    await fleet.worker("w")
    return await ran_under(fleet)


async def test_one_that_survived_its_agent_is_taken_over_only_under_the_lock_that_it_was_started_from(
    fleet: Fleet, w: Locked
) -> None:
    async with fleet.agent_of([w.host()]):
        await fleet.worker("w")
        pid = w.station.process.pid
    async with fleet.agent_of([w.host()]):
        await fleet.worker("w")
        assert w.station.process.pid == pid
        job_id = await fleet.submit(sampled(steps=1), "w")
        assert (await fleet.job(job_id)).status is JobStatus.SUCCEEDED
    w.package("2.0")
    digest = w.write().digest
    async with fleet.agent_of([w.host()]):

        async def anew() -> bool:
            return (await fleet.worker("w")).info.lock == digest

        await eventually(anew, "another process, started from the new lock")
        assert w.station.process.pid != pid
    assert any("when prod.lock.yaml was another" in (it.note or "") for it in await fleet.store.worker_changes("w"))


async def test_a_locked_node_pack_that_was_not_imported_is_one_that_is_missing(fleet: Fleet, w: Locked) -> None:
    reason = f"Cannot import {w.pack} module for custom nodes: No module named 'cv2'"
    w.station.sim.behave(says=[reason, f"   0.1 seconds (IMPORT FAILED): {w.pack}"])
    async with fleet.agent_of([w.host(quarantine_failures=1)]):
        await quarantined(fleet, "node packs of its lock were not imported: PackA (No module named 'cv2')")


# --- attached ---

MADE_OF: dict[str, Any] = {
    "comfyui": {"commit": "a" * 40, "remote": "https://example.com/ComfyUI", "dirty": False},
    "node_packs": [],
    "python": "3.11.7",
    "packages": {"alpha": "1.0"},
}
LOCK = Lock(
    comfyui=Checkout("https://example.com/ComfyUI", "a" * 40),
    python="3.11",
    packages={"alpha": Package("1.0", ("0" * 64,))},
    models={CHECKPOINT: Model(sha256(CHECKPOINT, {}), 2_133_000_000)},
)


def attached(url: str, tmp_path: Path, lock: Lock = LOCK) -> AttachedHost:
    file = tmp_path / "prod.lock.yaml"
    file.write_text(document.dump(lock))
    return AttachedHost(WorkerInfo("w", url, "default", "agent"), Pinned(file, tmp_path / "hashes.json"))


async def test_an_attached_one_is_looked_at_through_its_node_pack(
    fleet: Fleet, sim_comfyui: StartSim, tmp_path: Path
) -> None:
    weights, made_of = {CHECKPOINT: "other"}, dict(MADE_OF, packages={"alpha": "2.0"})
    sim = await sim_comfyui(node_pack=True, made_of=made_of, weights=weights, step_seconds=0.02)
    async with fleet.agent_of([attached(sim.url, tmp_path)]):
        await quarantined(fleet, "package alpha is 2.0", f"model {CHECKPOINT} has sha256")
        made_of["packages"] = {"alpha": "1.0"}
        worker = await quarantined(fleet, f"it is not what prod.lock.yaml says: model {CHECKPOINT} has sha256")
        assert worker.info.lock is None
        weights.clear()
        assert (await fleet.worker("w")).info.lock == LOCK.digest
        job_id = await fleet.submit(sampled(steps=5000), "w")
        await fleet.run_in(job_id, RunState.RUNNING)
    async with fleet.agent_of([attached(sim.url, tmp_path)]):
        await fleet.worker("w")
        await fleet.store.cancel(job_id)
        job = await fleet.job(job_id)
        assert [run.lock for run in job.runs] == [LOCK.digest], "a run goes on that is still under its lock"


async def test_an_attached_one_without_the_node_pack_is_told_what_to_do(
    fleet: Fleet, sim_comfyui: StartSim, tmp_path: Path
) -> None:
    sim = await sim_comfyui()
    async with fleet.agent_of([attached(sim.url, tmp_path)]):
        worker = await quarantined(fleet, "link comfyfleet's node pack (comfy_nodes) into its custom_nodes")
    assert worker.note is not None
    assert worker.note.startswith("nobody can tell whether it is what prod.lock.yaml says")


async def test_what_is_seen_of_it_through_the_api(whole: StartWhole, sim_comfyui: StartSim, tmp_path: Path) -> None:
    sim, free = await sim_comfyui(node_pack=True, made_of=MADE_OF), await sim_comfyui()
    file = tmp_path / "prod.lock.yaml"
    file.write_text(document.dump(LOCK))
    fleet = await whole([{"id": "w", "url": sim.url, "lock": file}, {"id": "free", "url": free.url, "pool": "other"}])
    shown = {worker["id"]: worker["lock"] for worker in (await fleet.client.get("/v1/workers"))["workers"]}
    assert shown == {"w": LOCK.digest, "free": None}
    for pool, lock in (("default", LOCK.digest), ("other", None)):
        job = await fleet.ended(await fleet.submit(sampled(steps=1), pool=pool))
        assert [run["lock"] for run in job["runs"]] == [lock]
    (held,) = (await fleet.client.get("/v1/residency"))["workers"][1]["vram"]
    assert held["sha256"] == LOCK.models[CHECKPOINT].sha256, "the lock knows without anybody reading the file"
